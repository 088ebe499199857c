"""What ranks say to one another; run by torchrun."""

import json
import sys
from pathlib import Path

import torch

from understudy.training.ranks import join_ranks, leave_ranks


def outcome(ranks, work):
    """How a common part of the work ends here."""
    try:
        with ranks.together():
            work()
    except (Exception, SystemExit) as error:
        return [type(error).__name__, str(error)]
    return "went on"


def main(folder: Path) -> None:
    ranks = join_ranks()

    def fail_on(*failing: int):
        def work():
            if ranks.rank in failing:
                raise ValueError(f"bad file on {ranks.rank}")

        return work

    def disk_full():
        if ranks.rank == 1:
            raise OSError("no space")

    mine = [[7, 8, 9], []] if ranks.rank == 0 else [[5]]
    disjoint = torch.zeros(4)
    disjoint[ranks.rank :: 2] = torch.tensor([1.5, 2.5]) + ranks.rank
    found = {
        "who": [ranks.rank, ranks.world, ranks.data_rank, ranks.data_world, ranks.is_first],
        "deal": {
            count: [[s.number, s.counts] for s in ranks.deal(count)] for count in (0, 1, 2, 5)
        },
        "sum": ranks.sum([1.0 + ranks.rank, 0.5]),
        "sums": ranks.sums({"a": 2.0 * ranks.rank}),
        "max": ranks.max([-1.0 - ranks.rank, float(ranks.rank)]),
        "agree": [ranks.agree(ranks.rank == 1), ranks.agree(False), ranks.agree(True)],
        "gather_rows": ranks.gather_rows(mine),
        "from_rank": ranks.from_rank(1, {"said": f"by {ranks.rank}", "é": [None, 1]}),
        "from_all": ranks.from_all({"rank": "é" * ranks.rank}),
        "sum_tensor": ranks.sum_tensor(disjoint).tolist(),
        "on_first": ranks.on_first(lambda: "written"),
        "none_fails": outcome(ranks, fail_on()),
        "first_fails": outcome(ranks, fail_on(0)),
        "second_fails": outcome(ranks, fail_on(1)),
        "both_fail": outcome(ranks, fail_on(0, 1)),
        "disk_full": outcome(ranks, disk_full),
    }
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_ranks()
