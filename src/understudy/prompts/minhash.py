"""Near-duplicates by MinHash: prompts whose sets of word triples overlap by at least a threshold.

Signatures of 128 minima in 16 bands of 8 find a pair of Jaccard similarity 0.8 with probability
0.95 and one of 0.9 with 0.9999; each candidate is then compared exactly, so nothing below the
threshold is dropped.
"""

import zlib

import numpy as np
import numpy.typing as npt

from understudy.numerics.splitmix import mix

NUM_BANDS = 16
ROWS_PER_BAND = 8

_RANDOM = np.random.default_rng(2203_02155)
_MULTIPLIERS = _RANDOM.integers(0, 2**63, NUM_BANDS * ROWS_PER_BAND, dtype=np.uint64) * 2 + 1
_BAND_SALTS = _RANDOM.integers(0, 2**63, NUM_BANDS, dtype=np.uint64)
_BAND_MULTIPLIERS = _RANDOM.integers(0, 2**63, ROWS_PER_BAND, dtype=np.uint64) * 2 + 1


class NearDuplicates:
    """The texts kept so far, by the bands of their signatures.

    Each band value keeps only the latest text, so that many copies of a template cost no more than
    other texts: at most 16 comparisons and about 2 kB each.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._latest: dict[int, int] = {}
        self._shingles: dict[int, npt.NDArray[np.uint32]] = {}

    def check(self, text: str, number: int, scope: str = "") -> int | None:
        """The number of an earlier text at or above the threshold; else None, and `text` is
        kept."""
        shingles = shingle(text)
        salt = _BAND_SALTS ^ np.uint64(zlib.crc32(scope.encode()))
        keys = (band_values(shingles) ^ salt).tolist()
        for other in sorted({self._latest[key] for key in keys if key in self._latest}):
            if jaccard(shingles, self._shingles[other]) >= self._threshold:
                return other
        self._shingles[number] = shingles
        self._latest.update(dict.fromkeys(keys, number))
        return None


def shingle(text: str) -> npt.NDArray[np.uint32]:
    """Sorted 32-bit hashes of the runs of three words; a shorter text is one run."""
    words = text.split()
    runs = {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
    return np.array(sorted(zlib.crc32(run.encode("utf-8", "replace")) for run in runs), np.uint32)


def band_values(shingles: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """One number per band; two sets agree in a band with probability (Jaccard similarity)^8."""
    hashes = mix(shingles.astype(np.uint64))[:, None] * _MULTIPLIERS
    minima = (hashes >> np.uint64(32)).min(axis=0).reshape(NUM_BANDS, ROWS_PER_BAND)
    bands: npt.NDArray[np.uint64] = (mix(minima) * _BAND_MULTIPLIERS).sum(axis=1, dtype=np.uint64)
    return bands


def jaccard(left: npt.NDArray[np.uint32], right: npt.NDArray[np.uint32]) -> float:
    """Jaccard similarity of two sorted sets: their shared elements over all their elements."""
    shared = np.intersect1d(left, right, assume_unique=True).size
    return float(shared / (left.size + right.size - shared))
