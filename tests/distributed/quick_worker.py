"""All that the quick tests need of two ranks, in one pair of processes, as starting them is most of
the work; run by torchrun.
"""

import sys
from pathlib import Path

from tests.distributed import (
    cases,
    checkpoint_worker,
    ranks_worker,
    replica_worker,
    sft_ends_worker,
    sharding_worker,
)

from understudy.training.ranks import leave_ranks


def main(folder: Path) -> None:
    ranks_worker.main(folder / "ranks")
    sharding_worker.main(folder / "sharding", replicas=1, kinds=("llama_tied", "gpt2"))
    replica_worker.main(folder / "replica")
    checkpoint_worker.main(folder / "checkpoint")
    cases.main(folder / "trainers", "few", replicas=1)
    sft_ends_worker.main(folder / "ends")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_ranks()
