"""Pretrains a base model on the tiny world's web; it plays the role of GPT-3 in the paper.

    understudy world pretrain --size 1m --out runs/base-1m

Every page is read once, in fresh batches of packed rows. The first fifth of training has many
dictation pages (a line of words, then the same line again): copying takes a small model longest to
learn, and all reading comprehension needs it. This command made the models that ship with the
package; larger sizes need a GPU.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase, digits, punctuation
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from understudy.models.batching import pad
from understudy.models.policies import Policy, load_policy, save_policy
from understudy.models.text import lm_loss, pack_rows
from understudy.models.trunk import device_of
from understudy.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from understudy.training.opening import prepare_run
from understudy.training.optim import set_lr
from understudy.training.run import Run
from understudy.training.stop import stop_on_signal
from understudy.world.benchmarks import benchmark_items
from understudy.world.corpus import EOS, corpus, dictation
from understudy.world.language import Facts
from understudy.world.muon import Muon
from understudy.world.pretrain_config import PretrainConfig, Size
from understudy.world.reserved import is_held_out
from understudy.world.world import FACTS_SEED, World

SHAPES: dict[str, dict[str, int]] = {
    "200k": {"hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 176},
    "1m": {"hidden_size": 128, "num_hidden_layers": 5, "intermediate_size": 344},
    "3m": {"hidden_size": 192, "num_hidden_layers": 6, "intermediate_size": 512},
    "12m": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1024},
    "50m": {"hidden_size": 640, "num_hidden_layers": 10, "intermediate_size": 1712},
}
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    " {{ message['content'] }}{{ eos_token }}\n"
    "{% else %}ask: {{ message['content'] }}\nreply:{% endif %}{% endfor %}"
)
VOCABULARY = 1024
VALID_SEED = 10_001
INIT_STD = 0.06
"""Standard deviation of the initial weights; with 0.02 copying is learned later (dev/LOG.md)."""
COPY_PHASE = 0.2
"""Share of training in which dictation replaces `COPY_SHARE` of the pages."""


def pretrain(config: PretrainConfig) -> Path:
    """Train one base model; returns its run folder."""
    run = prepare_run(
        config.out,
        stage="pretrain",
        config=config,
        inputs={"start_from": config.start_from},
        seed=config.seed,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    if run.done:
        return config.out
    facts = Facts.of_seed(FACTS_SEED)
    torch.manual_seed(config.seed)
    model, tokenizer = _start(config, facts)
    model.to(config.device)
    run.claim()
    optimizers = make_optimizers(model, config)
    start = _resume(run, model, optimizers)
    batches = _batches(config, tokenizer, facts, start)
    valid_ids = pack_rows(
        tokenizer, World().corpus(1500, VALID_SEED, held_out=True), config.row_length
    )[:256]
    with run.progress(config.num_steps, f"pretrain {config.size}"), stop_on_signal() as stop:
        for step, ids_BT in enumerate(batches, start=start):
            for optimizer, lr in zip(optimizers, (config.lr, config.muon_lr), strict=True):
                set_lr(optimizer, lr * config.lr_multiplier(step))
            loss = lm_loss(model, ids_BT.to(config.device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            metrics = {"pretrain/loss": float(loss.detach())}
            done = step + 1
            if done % config.eval_every == 0 or done == config.num_steps:
                metrics |= measure(model, tokenizer, valid_ids)
            run.log(done, metrics)
            if done % config.eval_every == 0 or stop.requested:
                _save(run, model, optimizers, done)
            if stop.requested:
                raise run.stopped(step)
    save_policy(model.half(), tokenizer, config.out / "model")
    run.finish({"parameters": sum(p.numel() for p in model.parameters()), **metrics})
    return config.out


def _start(config: PretrainConfig, facts: Facts) -> tuple[Policy, Any]:
    """Fresh weights and a tokenizer trained on the web, or those of `start_from`."""
    if config.start_from is None:
        tokenizer = world_tokenizer(facts)
        return Policy(LlamaForCausalLM(model_config(config.size, tokenizer))), tokenizer
    model, tokenizer = load_policy(config.start_from)
    if EOS not in tokenizer.get_vocab():
        raise ValueError(
            f"{config.start_from} was not pretrained on the tiny world: its tokenizer lacks {EOS}"
        )
    return model.train(), tokenizer


def make_optimizers(model: Policy, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for embeddings and norms, Muon for the layers' matrices, which learns to copy about
    twice as fast."""
    matrices = [p for p in model.trunk.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0),
        Muon(matrices, lr=config.muon_lr),
    ]


def _resume(run: Run, model: Policy, optimizers: list[torch.optim.Optimizer]) -> int:
    path = latest_checkpoint(run.dir) if run.resumed else None
    if path is None:
        run.rewind(0)
        return 0
    trees, state = load_checkpoint(path)
    model.load_state_dict(trees["model"])
    for name, optimizer in zip(("adamw", "muon"), optimizers, strict=True):
        optimizer.load_state_dict(trees[name])
    run.rewind(state["step"])
    return int(state["step"])


def _save(run: Run, model: Policy, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    adamw, muon = (optimizer.state_dict() for optimizer in optimizers)
    trees = {"model": model.state_dict(), "adamw": adamw, "muon": muon}
    save_checkpoint(run.dir, step, trees, {"step": step}, keep=1)


def _pages(config: PretrainConfig, facts: Facts) -> Iterator[str]:
    """The web's pages in order; dictation replaces a share of the first ones."""
    rng = random.Random(f"copy-{config.web_seed}")
    tokens = 0
    while True:  # a page has about 30 tokens; the web is endless
        for page in corpus(facts, config.tokens // 10, config.web_seed):
            early = tokens < COPY_PHASE * config.tokens
            if early and rng.random() < config.copy_share:
                page = dictation(rng, max_words=20)
                while is_held_out(page.partition("\n")[0]):
                    page = dictation(rng, max_words=20)
            tokens += page.count(" ") + 2
            yield page


def _batches(
    config: PretrainConfig, tokenizer: PreTrainedTokenizerFast, facts: Facts, start: int
) -> Iterator[Tensor]:
    """ids_BT for the steps from `start` on: the packed stream of pages, each followed by EOS."""
    need = config.batch_rows * config.row_length
    stream: list[int] = []
    pages, step = _pages(config, facts), 0
    while step < config.num_steps:
        while len(stream) < need:
            texts = [next(pages) for _ in range(256)]
            for row in tokenizer(texts, add_special_tokens=False)["input_ids"]:
                stream += [*row, tokenizer.eos_token_id]
        if step >= start:
            yield torch.tensor(stream[:need]).view(config.batch_rows, config.row_length)
        stream = stream[need:]
        step += 1


@torch.no_grad()
def measure(
    model: Policy, tokenizer: PreTrainedTokenizerFast, valid_ids: Tensor
) -> dict[str, float]:
    """Loss on fresh pages and the four benchmarks, teacher-forced."""
    model.eval()
    rows = valid_ids.to(device_of(model))
    losses = [float(lm_loss(model, part)) * len(part) for part in rows.split(64)]
    metrics = {"pretrain/valid_loss": sum(losses) / len(rows)}
    for name, items in benchmark_items(Facts.of_seed(FACTS_SEED), 100).items():
        metrics[f"pretrain/{name}"] = exact_share(model, tokenizer, items)
    model.train()
    return metrics


def exact_share(
    model: Policy, tokenizer: PreTrainedTokenizerFast, items: list[dict[str, str]]
) -> float:
    """Share of items whose every answer token is the likeliest one: greedy decoding's exact
    match."""
    right = 0
    for start in range(0, len(items), 100):
        part = items[start : start + 100]
        contexts, answers = (
            tokenizer(texts, add_special_tokens=False)["input_ids"]
            for texts in (
                [item["context"] + item["question"] for item in part],
                [" " + item["answer"] for item in part],
            )
        )
        rows = [context + answer for context, answer in zip(contexts, answers, strict=True)]
        ids_BT, mask_BT = pad(rows, tokenizer.pad_token_id)
        hidden_BTD = model.hidden(ids_BT.to(device_of(model)), mask_BT.to(device_of(model)))
        for hidden_TD, row, answer in zip(hidden_BTD, rows, answers, strict=True):
            end = len(row) - 1
            logits_TV = hidden_TD[end - len(answer) : end] @ model.head.weight_VD.T
            right += logits_TV.argmax(-1).tolist() == answer
    return right / len(items)


def world_tokenizer(facts: Facts) -> PreTrainedTokenizerFast:
    """Byte-level BPE over lower-case text: nearly every word of the world is one token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|unk|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [page.replace(EOS, "") for page in corpus(facts, 20_000, 999)]
    spaced = tokenizer.pre_tokenizer.pre_tokenize_str("\n a")
    alphabet = {c for word, _ in spaced for c in word}
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(alphabet | set(ascii_lowercase + digits + punctuation)),
        special_tokens=["<|pad|>", EOS, "<|unk|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token=EOS,
        unk_token="<|unk|>",
        padding_side="right",
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
    )


def model_config(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=INIT_STD,
        **SHAPES[size],
    )
