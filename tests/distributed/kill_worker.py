"""An SFT run of which one rank kills itself at a named point; run by torchrun.

Without a rank to kill it goes on with the run, or starts it.
"""

import json
import os
import sys
from pathlib import Path

from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.checkpoint import CRASH_VARIABLE
from understudy.training.ranks import join_ranks, leave_ranks


def main(folder: Path, out: str, rank: int, point: str) -> None:
    ranks = join_ranks()
    if ranks.rank == rank:
        os.environ[CRASH_VARIABLE] = point
    train_sft(
        SFTConfig(
            model=str(folder / "base"),
            data=folder / "demos.jsonl",
            out=folder / out,
            epochs=1,
            lr=1e-3,
            batch_size=4,
            micro_batch_tokens=64,
            save_every=1,
            resume=(folder / out / "run.json").exists(),
        )
    )
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps("done"))
    leave_ranks()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
