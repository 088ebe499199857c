"""Win rates for one's actual users: strata of prompts, each weighted by its share among the users.

The prompts of an evaluation may not represent the users. Post-stratification weighs each use case,
organisation or tag by its share among them; it does not correct for differences within a stratum.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.records import Prompt, read_records

NONE = "none"
"""The stratum of prompts that have no use case, organisation or tag."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strata:
    """How prompts are divided into strata, and each stratum's share among the users."""

    by: str
    """use_case, organization, or the name of a tag."""
    shares: Mapping[str, float]
    """Shares above 0; they sum to 1."""
    stratum_of: Mapping[str, str]
    """Prompt -> stratum, for prompts whose stratum has a share."""
    missing: Mapping[str, float]
    """Shares of the strata without prompts, which the figures do not cover."""
    num_left_out: int
    """Number of prompts whose stratum has no share."""

    def to_json(self) -> dict[str, Any]:
        """As in results.json."""
        names = ("by", "shares", "missing", "num_left_out")
        return {name: getattr(self, name) for name in names}

    def caveats(self) -> list[str]:
        """Caveats for the reader."""
        said = [
            f"Figures at the users' shares weigh each {self.by.replace('_', ' ')} by its share "
            "among the users. The shares are taken as known, and differences within one are not "
            "corrected."
        ]
        if self.missing:
            names, share = ", ".join(sorted(self.missing)), sum(self.missing.values())
            said.append(
                f"{share:.0%} of the users' share belongs to strata without prompts here "
                f"({names}); figures at the users' shares cover the other strata."
            )
        if self.num_left_out:
            said.append(
                f"{self.num_left_out} prompts have no share among the users; figures at the users' "
                "shares leave them out."
            )
        return said


def read_strata(by: str, path: Path, prompts: Sequence[Prompt]) -> Strata:
    """The strata of an evaluation's prompts, with shares from a file: a JSON object of shares by
    stratum, or prompts that represent the users, each of whom counts once."""
    shares = _shares(by, path)
    stratum_of = {prompt.id: stratum(prompt, by) for prompt in prompts}
    present = set(stratum_of.values())
    if not present & set(shares):
        raise ValueError(
            f"{path}: no prompt is in a stratum with a share; the prompts' are "
            f"{', '.join(sorted(present))}, the file's {', '.join(sorted(shares))}"
        )
    kept = {prompt: name for prompt, name in stratum_of.items() if name in shares}
    return Strata(
        by=by,
        shares=shares,
        stratum_of=kept,
        missing={name: share for name, share in shares.items() if name not in present},
        num_left_out=len(stratum_of) - len(kept),
    )


def stratum(prompt: Prompt, by: str) -> str:
    """The stratum of a prompt: `stratum(prompt, "use_case")` may be "chat"."""
    if by == "use_case":
        value: Any = prompt.use_case
    elif by == "organization":
        value = prompt.organization_id
    else:
        value = prompt.tags.get(by)
    if value is None or isinstance(value, str):
        return value or NONE
    return json.dumps(value)


def _shares(by: str, path: Path) -> dict[str, float]:
    if path.suffix == ".json":
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as JSON: {error}") from None
        if isinstance(table, dict) and "prompt" not in table:
            return _checked(table, path)
    found: dict[str, float] = defaultdict(float)
    represented = read_records(path, Prompt)
    sent = Counter(prompt.user_id for prompt in represented)
    for prompt in represented:
        found[stratum(prompt, by)] += 1 / sent[prompt.user_id]
    return _normalised(found, path)


def _checked(table: Mapping[str, Any], path: Path) -> dict[str, float]:
    """Shares that sum to 1 or 100, up to rounding, or counts in whole numbers."""
    for name, share in table.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not math.isfinite(share) or share < 0:
            raise ValueError(
                f"{path}: the share of {name} is {share!r}; it must be a number of 0 or more"
            )
    total = sum(table.values())
    sums_up = any(math.isclose(total, whole, rel_tol=0.011) for whole in (1, 100))
    if total > 0 and not sums_up and any(isinstance(share, float) for share in table.values()):
        raise ValueError(
            f"{path}: the shares sum to {total:g}; they must sum to 1 or 100, unless they are "
            "counts in whole numbers"
        )
    return _normalised(table, path)


def _normalised(table: Mapping[str, float], path: Path) -> dict[str, float]:
    total = sum(table.values())
    if not total > 0:
        raise ValueError(f"{path} has no share above 0")
    return {name: share / total for name, share in table.items() if share > 0}
