"""Peak memory of each rank while a model is loaded, tried and saved, on 1, 2 and 4 processes.

    python benchmarks/loading.py [--ranks 1 2 4] [--layers 8] [--hidden 768] [--out FILE]

Makes a Llama of random weights (350 MB by default), and for each number of ranks starts as many
processes that load it as the trainers do, over gloo. A peak is the most private memory of the
process (RssAnon, read every millisecond) above what it had before. Weights are read by mapping the
file, so they count only once they are written to, which this benchmark does at once. "model" is the
bytes of all weights, "block" those of a decoder layer, "root" those of embeddings and head, which
are gathered together when the model computes. Writes benchmarks/loading.json.
"""

import argparse
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers.models import WordLevel
from torch.distributed import TCPStore
from torch.multiprocessing import start_processes
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.policies import Policy, check_computes, load_policy, save_policy
from understudy.models.sharding import blocks_of, local_part
from understudy.training.ranks import join_ranks, leave_ranks

T = TypeVar("T")
VOCABULARY = 8192


def make_model(folder: Path, layers: int, hidden: int) -> dict[str, int]:
    """Write a model of random weights; returns the bytes of model, block and root."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=256,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    words = {f"w{index}": index for index in range(VOCABULARY)}
    raw = RawTokenizer(WordLevel(words, unk_token="w1"))
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="w0").save_pretrained(folder)
    whole = sum(weight.nbytes for weight in model.parameters())
    block = sum(weight.nbytes for weight in next(blocks_of(model)).parameters())
    return {"model": whole, "block": block, "root": whole - layers * block}


def private_bytes() -> int:
    """The process's anonymous memory in bytes."""
    (found,) = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found)


def peak_of(work: Callable[[], T]) -> tuple[int, T]:
    """(the most private bytes while `work` runs, its result)."""
    seen, done = [private_bytes()], Event()

    def look() -> None:
        while not done.wait(0.001):
            seen.append(private_bytes())

    watcher = Thread(target=look)
    watcher.start()
    result = work()
    done.set()
    watcher.join()
    return max(*seen, private_bytes()), result


def rank_main(rank: int, world: int, port: int, folder: Path, out: Path) -> None:
    """Measure in one process; writes rank-RANK.json."""
    if world > 1:
        os.environ |= {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
    ranks = join_ranks()
    load_policy(folder / "small", mesh=ranks.mesh)  # what libraries allocate once
    ranks.wait()

    def load() -> tuple[Policy, Tokenizer]:
        policy, tokenizer = load_policy(folder / "model", mesh=ranks.mesh)
        with torch.no_grad():
            for weight in policy.parameters():
                local_part(weight).mul_(1)
        return policy, tokenizer

    before = private_bytes()
    loading, (policy, tokenizer) = peak_of(load)
    saving, _ = peak_of(lambda: save_policy(policy, tokenizer, out / "saved"))
    ranks.wait()
    computing, _ = peak_of(lambda: check_computes(folder / "model", policy))
    peaks = {"load": loading, "save": saving, "compute": computing}
    found = {part: peak - before for part, peak in peaks.items()}
    (out / f"rank-{rank}.json").write_text(json.dumps(found))
    leave_ranks()


def measure(world: int, folder: Path) -> dict[str, int]:
    """The largest peak of any of `world` ranks, by phase."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        arguments = (world, store.port, folder, out)
        start_processes(rank_main, arguments, world, start_method="spawn")
        rows = [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(world)]
    return {part: max(row[part] for row in rows) for part in rows[0]}


def run(worlds: list[int], layers: int, hidden: int) -> dict[str, Any]:
    """Sizes and peaks in bytes, by number of ranks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "small", 1, 64)
        sizes = make_model(folder / "model", layers, hidden)
        return {"bytes": sizes, "peaks": {str(n): measure(n, folder) for n in worlds}}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("loading.json"))
    options = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "131072"  # return freed tensors to the system at once
    found = run(options.ranks, options.layers, options.hidden)
    print(", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in found["bytes"].items()))
    for world, peaks in found["peaks"].items():
        bound = found["bytes"]["model"] / int(world) + found["bytes"]["block"]
        row = ", ".join(f"{part} {size / 1e6:,.0f} MB" for part, size in peaks.items())
        print(f"{world} ranks: {row}; a rank's share and a block are {bound / 1e6:,.0f} MB")
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
