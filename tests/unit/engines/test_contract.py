"""What every rollout engine does: the native one, and a real vLLM server."""

import json
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer
from tests.vllm_server import SHAPE, save_served
from transformers import AutoConfig

from understudy.engines.engine import Engine
from understudy.engines.generation import Generation
from understudy.engines.replica import Replica
from understudy.engines.vllm import LEAST_TEMPERATURE, Server, differences
from understudy.models.batching import pad
from understudy.models.policies import Policy
from understudy.rl.served import Served
from understudy.training.ranks import ALONE

EOS, PAD, OTHER = 0, 1, 9
PARITY = 2e-5
PROMPTS = [[5 + i % 7, *range(20, 22 + i)] for i in range(10)]


@dataclass
class Rollouts:
    """An engine, and a policy whose weights it holds."""

    engine: Engine
    policy: Policy

    def __call__(self, prompts: list[list[int]] = PROMPTS, **changes: Any) -> list[Generation]:
        sampling: dict[str, Any] = dict(
            max_new_tokens=12, temperature=1.0, seed=3, stop_ids={EOS}, pad_id=PAD, slots=6
        )
        sampling["keys"] = [(4, i) for i in range(len(prompts))]
        ids_BT, mask_BT = pad(PROMPTS[:2], PAD)
        with self.engine.drawing(self.policy, ids_BT, mask_BT) as draw:
            return draw(prompts, **sampling | changes)


@pytest.fixture(params=["native", pytest.param("vllm", marks=pytest.mark.vllm)])
def rollouts(request: pytest.FixtureRequest, tmp_path: Path) -> Rollouts:
    policy = make_policy("llama", 7, **SHAPE)
    if request.param == "native":
        return Rollouts(Replica(policy), policy)
    server = Server(request.getfixturevalue("vllm_server").url)
    folder = tmp_path / "rollout" / "model"
    return Rollouts(Served(server, make_tokenizer(), folder, ALONE), policy)


@torch.no_grad()
def worst(policy: Policy, found: list[Generation], temperature: float = 1.0) -> float:
    """The largest difference between the engine's log-probs and the policy's."""
    ids_BT, mask_BT = pad([p + g.ids for p, g in zip(PROMPTS, found, strict=True)], PAD)
    own_BT, _ = policy.logprobs(ids_BT, mask_BT, temperature)
    rows = zip(own_BT, PROMPTS, found, strict=True)
    return max(
        float((torch.tensor(g.logprobs) - row[len(p) : len(p) + len(g.ids)]).abs().max())
        for row, p, g in rows
    )


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.6])
def test_logprobs_are_the_policys_at_the_temperature(rollouts: Rollouts, temperature: float):
    found = rollouts(temperature=temperature)
    assert worst(rollouts.policy, found, temperature) < PARITY
    other = 1.0 if temperature != 1.0 else 0.7
    assert worst(rollouts.policy, found, other) > 1000 * PARITY


def test_a_low_temperature_takes_the_likeliest_tokens(rollouts: Rollouts):
    for prompt, found in zip(PROMPTS, rollouts(temperature=LEAST_TEMPERATURE), strict=True):
        logits_TV = rollouts.policy(input_ids=torch.tensor([prompt + found.ids])).logits[0]
        logits_TV = logits_TV[len(prompt) - 1 : -1]
        taken_T = logits_TV.gather(1, torch.tensor(found.ids).unsqueeze(1)).squeeze(1)
        assert (logits_TV.amax(-1) - taken_T < 20 * LEAST_TEMPERATURE).all()


def test_first_tokens_follow_the_softmax(rollouts: Rollouts):
    prompt, num = PROMPTS[0], 1000
    found = rollouts([prompt] * num, max_new_tokens=1, temperature=0.8, slots=32)
    probs = torch.softmax(rollouts.policy(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.8, -1)
    counts = torch.bincount(torch.tensor([g.ids[0] for g in found]), minlength=len(probs))
    top = probs.topk(20).indices
    error = (counts[top] / num - probs[top]).abs()
    assert (error < 4.5 * (probs[top] / num) ** 0.5).all()


def test_ends_at_the_first_stop_token_or_at_the_limit(rollouts: Rollouts):
    stops = {OTHER, *range(200, 230)}
    found = rollouts(PROMPTS * 4, stop_ids=stops, max_new_tokens=9)
    assert {g.finished for g in found} == {True, False}
    assert len({len(g.ids) for g in found}) > 3
    for one in found:
        assert len(one.ids) == len(one.logprobs) <= 9
        assert not stops & set(one.ids[:-1])
        assert one.finished == (one.ids[-1] in stops)
        assert one.finished or len(one.ids) == 9
    likeliest = int(rollouts.policy(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].argmax())
    (one,) = rollouts(PROMPTS[:1], stop_ids={likeliest}, temperature=LEAST_TEMPERATURE)
    assert (one.ids, one.finished) == ([likeliest], True)


def test_the_models_own_end_is_none_unless_it_is_among_the_stop_tokens(rollouts: Rollouts):
    weight_VD = rollouts.policy.model.lm_head.weight  # of the embeddings too
    logits_V = rollouts.policy(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    likeliest = int(logits_V.argmax())
    with torch.no_grad():  # now the likeliest token is EOS
        weight_VD[[EOS, likeliest]] = weight_VD[[likeliest, EOS]]
    (one,) = rollouts(
        PROMPTS[:1], stop_ids={OTHER}, temperature=LEAST_TEMPERATURE, max_new_tokens=4
    )
    assert one.ids[0] == EOS
    assert len(one.ids) > 1
    (one,) = rollouts(
        PROMPTS[:1], stop_ids={EOS, OTHER}, temperature=LEAST_TEMPERATURE, max_new_tokens=4
    )
    assert one.ids == [EOS]


def test_same_responses_in_any_order_and_apart_for_equal_prompts(rollouts: Rollouts):
    prompts = [*PROMPTS, PROMPTS[0]]
    keys = [(4, i) for i in range(len(prompts))]
    whole = rollouts(prompts, keys=keys)
    assert len({tuple(g.ids) for g in whole}) == len(prompts)
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(1)).tolist()
    mixed = rollouts([prompts[i] for i in order], keys=[keys[i] for i in order], slots=3)
    assert [g.ids for g in mixed] == [whole[i].ids for i in order]


def test_the_seed_chooses_the_sample(rollouts: Rollouts):
    first, again, other = (rollouts(seed=seed) for seed in (3, 3, 4))
    assert [g.ids for g in first] == [g.ids for g in again]
    assert [g.ids for g in first] != [g.ids for g in other]


def test_updates_of_the_weights_are_visible(rollouts: Rollouts):
    before = rollouts()
    with torch.no_grad():
        for parameter in rollouts.policy.parameters():
            parameter.mul_(1.2)
    assert worst(rollouts.policy, before) > 1000 * PARITY
    after = rollouts()
    assert worst(rollouts.policy, after) < PARITY
    assert [g.ids for g in after] != [g.ids for g in before]


def post(url: str, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()


@pytest.mark.vllm
def test_stale_weights_are_refused(vllm_server: Any, tmp_path: Path):
    policy = make_policy("llama", 7, **SHAPE)
    served = Served(Server(vllm_server.url), make_tokenizer(), tmp_path / "a" / "model", ALONE)
    rollouts = Rollouts(served, policy)
    rollouts()
    rollouts()
    assert served.version == 1  # equal weights are handed over once
    assert not (tmp_path / "a").exists()
    post(f"{vllm_server.url}/update_weight_version", {"new_version": "another run's"})
    with pytest.raises(ConnectionError, match=r"weights another run's instead of [0-9a-f]{8}.1:"):
        rollouts()
    with torch.no_grad():
        next(policy.parameters()).mul_(1.01)
    rollouts()
    assert served.version == 2


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (dict(num_hidden_layers=3), "num_hidden_layers"),
        (dict(vocab_size=400), "vocab_size"),
        (dict(tie_word_embeddings=False), "tie_word_embeddings"),
        ({}, "tokenizer"),
    ],
)
def test_another_model_is_refused_before_it_is_sent(
    vllm_server: Any, tmp_path: Path, changes: dict[str, Any], named: str
):
    policy = make_policy("llama", **SHAPE | changes)
    tokenizer = make_tokenizer()
    if named == "tokenizer":
        tokenizer.add_tokens(["unheard-of"])
    server = Server(vllm_server.url)
    with pytest.raises(ValueError, match=f"another model than m .they differ in {named}"):
        server.check("m", policy.config, tokenizer)


@pytest.mark.vllm
def test_the_server_says_what_it_refuses(vllm_server: Any, tmp_path: Path):
    server = Server(vllm_server.url)
    with pytest.raises(
        ConnectionError, match=r"refused /collective_rpc, status 500: .*Worker failed"
    ):
        server.load(tmp_path / "nowhere", "1")
    sampling: dict[str, Any] = dict(max_new_tokens=2, temperature=1.0, seed=0, keys=[(0,)], slots=1)
    with pytest.raises(ConnectionError, match="status 400: Token id 5000 is out of vocabulary"):
        server.generate([[5000]], stop_ids={0}, **sampling)
    with pytest.raises(ValueError, match=r"temperature is 0.001; vLLM takes 0.01 and above"):
        server.generate([[5]], stop_ids={0}, **sampling | {"temperature": 0.001})


def test_no_server():
    with pytest.raises(ConnectionError, match=r"127.0.0.1:9 does not answer .*refused.*start it"):
        Server("http://127.0.0.1:9").check("m", None, make_tokenizer())


class Other(BaseHTTPRequestHandler):
    """A server of another kind."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "a model"}]}')

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_another_kind_of_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        with pytest.raises(ValueError, match=r"127.0.0.1:\d+ is not a vLLM server; start one"):
            Server(url).check("m", None, make_tokenizer())
        other.shutdown()


def test_same_shape_counts_as_the_same_model(tmp_path: Path):
    saved = AutoConfig.from_pretrained(save_served(tmp_path / "m"))
    assert differences(make_policy("llama", **SHAPE).config, saved) == []
    assert differences(make_policy("qwen2", **SHAPE).config, saved)[-1] == "model_type"


@pytest.mark.vllm
def test_a_server_that_dies_while_it_answers(vllm_server: Any):
    """The server's last test: tests/loop comes first (conftest.py)."""
    server = Server(vllm_server.url)
    server.load(vllm_server.model, "1")
    sampling: dict[str, Any] = dict(max_new_tokens=200, temperature=1.0, seed=0, stop_ids=set())
    sampling |= dict(keys=[(i,) for i in range(64)], slots=4)
    with pytest.raises(ConnectionError, match=r"does not answer .*start it .* with --resume"):
        server.generate([[5, 6]] * 64, on_end=lambda _: vllm_server.kill(), **sampling)
