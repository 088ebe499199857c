"""Which split a user belongs to, as a keyed hash of the user's id.

The split depends only on id, key and shares: a user keeps it whatever arrives later and in any
order, and nobody without the key can choose an id that lands in the test split.
"""

from hashlib import blake2b

from understudy.records.schema import Split

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def split_of(group_id: str, *, key: str, valid_share: float, test_share: float) -> Split:
    """The split of a user (or organisation) id.

    Growing `test_share` moves users from train only, never from valid to test or back.
    """
    digest = blake2b(group_id.encode(), key=_key_bytes(key), digest_size=8, person=b"split")
    place = int.from_bytes(digest.digest()) / 2**64
    if place < valid_share:
        return "valid"
    return "test" if place >= 1 - test_share else "train"


def _key_bytes(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=64).digest()
