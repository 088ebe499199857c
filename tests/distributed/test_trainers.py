"""Every trainer on two processes ends where it ends on one."""

import json
import math

import pytest
from safetensors.torch import load_file
from tests.distributed.cases import FEW, MANY, MORE, TENSOR, prepare, train
from tests.distributed.torchrun import run_script

from understudy.training.run import read_lines

pytestmark = pytest.mark.thorough

NORMS = ("final_layer_norm.bias", "ln_f.bias")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bf16": 2e-2}


def close(one, other, tolerance):
    """Whether two results are the same but for rounding of their numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k], tolerance) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other, [tolerance] * len(one)))
    if isinstance(one, float):
        return math.isclose(one, other, abs_tol=tolerance, rel_tol=tolerance)
    return one == other


def determined(model):
    """A model's weights without those whose gradient is nothing but rounding, which Adam enlarges
    to whole steps.

    Attention does not see the bias of the keys. A reward model's loss sees differences of scores,
    so it sees neither the bias of the head nor that of the norm before it; the shift that is saved
    with the head takes both back.
    """
    weights = {}
    for file in sorted(model.glob("*.safetensors")):
        weights |= {f"{file.stem}/{name}": value for name, value in load_file(file).items()}
    heads = json.loads((model / "config.json").read_text()).get("num_attention_heads")
    for name, value in weights.items():
        if name.endswith("k_proj.bias"):
            value.zero_()
        if name.endswith("c_attn.bias"):
            value.view(3, -1)[1] = 0
        if name.endswith("query_key_value.bias"):
            value.view(heads, 3, -1)[:, 1] = 0
    if "scalar_head/shift" in weights:
        weights["scalar_head/bias"] += weights.pop("scalar_head/shift")
        norm = [n for n in weights if n.endswith(NORMS) and ".layers." not in n]
        for name in norm:
            weights["scalar_head/bias"] += weights["scalar_head/weight"][0] @ weights.pop(name)
    return weights


def check(folder, name, case):
    tolerance = TOLERANCE["bf16" if case.get("bf16") else case.get("dtype", "float64")]
    several, one = folder / f"several-{name}", folder / f"one-{name}"
    rows, expected = (read_lines(run / "metrics.jsonl") for run in (several, one))
    assert len(rows) == len(expected) > 1
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            # Shares of tokens are counted in fp32 whatever the model computes in.
            allowed = max(tolerance, 1e-7) if key.endswith("_fraction") else tolerance
            if key == "reward/score":
                allowed = 1000 * tolerance  # see `determined`
            assert close(value, other[key], allowed), (key, value, other[key])
    if (one / "samples.jsonl").exists():
        answers = [read_lines(run / "samples.jsonl") for run in (several, one)]
        assert close(*answers, tolerance)  # the same words, token for token
    results, wanted = (json.loads((run / "results.json").read_text()) for run in (several, one))
    for found in (results, wanted):
        found.pop("bias_shift", None)  # see `determined`
    assert close(results, wanted, 100 * tolerance)
    found, weights = (determined(run / "model") for run in (several, one))
    assert found.keys() == weights.keys()
    # Adam divides by the gradient's size, so a weight may move by more than a loss does.
    apart = {key: float((found[key] - weights[key]).abs().max()) for key in weights}
    worst = max(apart, key=apart.get)
    assert apart[worst] < 10 * tolerance, (worst, apart[worst])
    configs = [json.loads((run / "model" / "config.json").read_text()) for run in (several, one)]
    for config in configs:
        config.pop("understudy_score_offset", None)  # bias and shift, which are in the weights
    assert configs[0] == configs[1]


@pytest.mark.parametrize(("name", "case"), (FEW | TENSOR).items(), ids=str)
def test_two_processes_end_where_one_ends(quick, name, case):
    folder = quick / "trainers"
    train(folder, folder / f"one-{name}", name, case)
    check(folder, name, case)


@pytest.mark.thorough
def test_the_other_trainers_end_where_one_process_ends(tmp_path):
    prepare(tmp_path, MORE)
    run_script("cases.py", tmp_path, "more", 1, world=2, seconds=1800)
    for name, case in MORE.items():
        train(tmp_path, tmp_path / f"one-{name}", name, case)
        check(tmp_path, name, case)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "replicas", "tensor"), [(2, 1, 1), (4, 1, 1), (4, 2, 1), (2, 1, 2), (4, 1, 2)]
)
def test_all_architectures_end_where_one_process_ends(tmp_path, world, replicas, tensor):
    prepare(tmp_path, MANY)
    run_script("cases.py", tmp_path, "many", replicas, tensor, world=world, seconds=3600)
    for name, case in MANY.items():
        if tensor > 1 and case.get("kind") == "gpt2":
            continue
        train(tmp_path, tmp_path / f"one-{name}", name, case)
        check(tmp_path, name, case)
