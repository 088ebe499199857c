"""All that the quick tests need of two ranks, in one pair of processes, since starting them is most
of the work. They are forked once PyTorch is imported, with torchrun's store and variables.
"""

import os
import sys
from pathlib import Path

from tests.distributed import (
    cases,
    checkpoint_worker,
    loading_worker,
    ranks_worker,
    replica_worker,
    sft_ends_worker,
    sharding_worker,
)
from torch.distributed import TCPStore
from torch.multiprocessing import start_processes

from understudy.training.ranks import leave_ranks

WORLD = 2


def rank_main(rank: int, folder: Path, port: int) -> None:
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    ranks_worker.main(folder / "ranks")
    sharding_worker.main(folder / "sharding", replicas=1, kinds=("llama_tied", "gpt2"))
    sharding_worker.main(folder / "sharding-tensor", replicas=1, kinds=("qwen2",), tensor=2)
    loading_worker.main(folder / "loading", kinds=("llama_tied", "gpt_neox", "gpt2"))
    loading_worker.main(folder / "loading-tensor", kinds=("llama_tied", "opt"), tensor=2)
    replica_worker.main(folder / "replica")
    checkpoint_worker.main(folder / "checkpoint")
    cases.main(folder / "trainers", "few", replicas=1)
    sft_ends_worker.main(folder / "ends")
    leave_ranks()


if __name__ == "__main__":
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    start_processes(rank_main, (Path(sys.argv[1]), store.port), WORLD, start_method="fork")
