"""A real vLLM server on the CPU, started once for all tests that need one.

The variable VLLM_PYTHON names the interpreter of an environment with vLLM (`make vllm`).
"""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.fixtures_models import make_policy, make_tokenizer

import understudy.engines.vllm as engine

SHAPE: dict[str, Any] = dict(hidden_size=64, num_attention_heads=2, num_key_value_heads=1)
"""vLLM's attention on a CPU wants heads of at least 32."""
SHAPE["tie_word_embeddings"] = True  # a head that vLLM does not reload by itself
SECONDS_TO_START = 400


def python() -> Path | None:
    """The interpreter of vLLM's environment, if there is one."""
    path = Path(
        os.environ.get("VLLM_PYTHON") or Path(__file__).parents[1] / ".peers/vllm/bin/python"
    )
    return path if path.exists() else None


def save_served(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A model folder of a shape that vLLM takes."""
    make_policy("llama", seed, **SHAPE | changes).model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


class VLLM:
    """A server process, its address and the folder that it was started on."""

    def __init__(self, folder: Path, log: Path, model: Path | None = None) -> None:
        self.model = model or save_served(folder / "served")
        self.log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [str(python()), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(self.model), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--dtype", "float32", "--logprobs-mode", "processed_logprobs"]
        command += ["--worker-extension-cls", engine.WORKER, "--enable-scale-out"]
        command += ["--enforce-eager", "--max-num-seqs", "32"]
        own = {
            "PYTHONPATH": str(Path(engine.__file__).parent / "vllm_worker"),
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "TORCHDYNAMO_DISABLE": "1",  # else the first request waits for a C++ compiler
        }
        hidden = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=kept | own, stdout=out, stderr=out, start_new_session=True
            )

    def wait_until_up(self) -> None:
        """Until it answers; AssertionError with the log's end if it does not come up."""
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"vLLM did not start: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """End the server and its workers, which share a process group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
