"""Our adapter against the harness's own HFLM."""

import json
from pathlib import Path

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer

pytest.importorskip("lm_eval", reason="the extra 'benchmarks' is not installed")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from understudy.evaluation.harness.adapter import HarnessModel, _settings
from understudy.models.policies import load_policy

TOKENIZER = make_tokenizer()
SMOL, RECORDED = Path("/tmp/smol/model"), Path("/work/shared/realdata/harness")
PAIRS = [
    ("ask: Where does Anna live?\nreply:", " Lund"),
    ("ask: Where does Anna live?\nreply:", " in the old house"),
    ("The cat sat on the ", "mat"),
    ("The cat sat\n", "on"),
    ("", "The cat sat"),
    ("", " dog"),
    ("word " * 300, "by the river"),
]


def _requests(kind, arguments):
    return [Instance(kind, {}, argument, index) for index, argument in enumerate(arguments)]


@pytest.fixture(params=["llama", "gpt2"])
def both(request):
    model = make_policy(request.param)
    theirs = HFLM(pretrained=model.model, tokenizer=TOKENIZER, batch_size=3, device="cpu")
    return HarnessModel(model, TOKENIZER), theirs


def test_loglikelihoods_are_hflms(both):
    requests = _requests("loglikelihood", PAIRS)
    found, expected = (lm.loglikelihood(requests, disable_tqdm=True) for lm in both)
    for (logprob, greedy), (wanted, wanted_greedy) in zip(found, expected, strict=True):
        assert logprob == pytest.approx(wanted, abs=1e-4)
        assert greedy == wanted_greedy
    counted = both[0].num_tokens
    assert counted[PAIRS[1]] == len(TOKENIZER(PAIRS[1][1])["input_ids"])
    assert both[0].num_cut == 1  # the last


def test_rolling_loglikelihoods_are_hflms(both):
    requests = _requests("loglikelihood_rolling", [("The cat sat.",), ("A dog ran. " * 90,)])
    found, expected = (lm.loglikelihood_rolling(requests, disable_tqdm=True) for lm in both)
    assert found == pytest.approx(expected, abs=1e-2)


def test_continuations_are_hflms(both):
    kwargs = {"until": ["e"], "max_gen_toks": 12, "do_sample": False}
    requests = _requests("generate_until", [(PAIRS[0][0], kwargs), ("The cat", kwargs)])
    found, expected = (lm.generate_until(requests, disable_tqdm=True) for lm in both)
    assert found == expected


def test_generation_settings():
    assert _settings({"until": "\n", "max_gen_toks": 5, "temperature": 0.7}) == (("\n",), 5, 0.0)
    assert _settings({"do_sample": True, "temperature": 0.7}) == ((), 256, 0.7)
    assert _settings({"top_p": 1.0, "max_tokens": 9}) == ((), 9, 0.0)
    with pytest.raises(ValueError, match=r"top_p=0\.9"):
        _settings({"top_p": 0.9})


def test_chat_template():
    lm = HarnessModel(make_policy(), TOKENIZER)
    turns = [{"role": "user", "content": "Hi"}]
    assert lm.apply_chat_template(turns) == "ask: Hi\nreply:"
    assert lm.tokenizer_name is not None


@pytest.mark.slow
@pytest.mark.skipif(
    not (SMOL.is_dir() and RECORDED.is_dir()), reason="SmolLM2 or the recorded likelihoods missing"
)
def test_smollm2s_loglikelihoods_are_hflms():
    from understudy.evaluation.harness.task_list import build

    policy, tokenizer = load_policy(SMOL)
    # In double precision: HFLM's own rounding in single precision is 5e-4 on some processors.
    exact, _ = load_policy(SMOL, dtype=torch.float64)
    theirs = HFLM(pretrained=exact.model, tokenizer=tokenizer, batch_size=4, device="cpu")
    recorded = json.loads((RECORDED / "out.local_hellaswag.json").read_text())["samples"][:8]
    task = build("hellaswag", RECORDED.parent, 0)
    pairs = []
    for sample in recorded:
        doc = task.eval_docs[sample["doc_id"]]
        pairs += [(task.fewshot_context(doc, 0), f" {choice}") for choice in doc["choices"]]
    requests = _requests("loglikelihood", pairs)
    with torch.no_grad():
        found, expected = (
            [logprob for logprob, _ in lm.loglikelihood(requests, disable_tqdm=True)]
            for lm in (HarnessModel(policy, tokenizer), theirs)
        )
    assert found == pytest.approx(expected, abs=1e-4)
    # HFLM's, recorded on another processor in single precision: the same contexts and choices.
    assert found == pytest.approx([lp for s in recorded for lp, _ in s["resps"]], abs=5e-4)
