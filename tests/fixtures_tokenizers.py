"""Small tokenizers with the traits of well-known families, each with the chat template of its kind.

`KINDS[name]()` makes one in milliseconds from the text below; EOS and turn end are special tokens
where the family has them so.
"""

import json
from collections.abc import Callable
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as Raw
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

_TEXT = [
    "Name a prime number. Seven is a prime number, and so is eleven.",
    "Where does Anna live? Anna lives in the old house by the river.",
    "user\nassistant\nsystem\nmodel\nYou are a helpful assistant. Be brief.",
    "User: Hi\nAssistant: Hello there, what is it that you want to know today?",
    "The answer is: [INST] no [/INST], 12 and 345. A cat  sat   on the mat.\n\nThe end.",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_GENERATION = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
)
THINK = (
    "{% for m in messages %}{% if m['role'] == 'assistant' and not loop.last %}"
    "{{ '<|im_start|>assistant\n' + m['content'].split('</think>')[-1].lstrip() + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
EMPTY_THOUGHT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant') }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}" + _ALTERNATE + "{{ '<start_of_turn>' + "
    "('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim "
    "+ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<|User|>' + m['content'] }}{% elif m['role'] == 'system' %}{{ m['content'] }}"
    "{% else %}{{ '<|Assistant|>' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}" + _ALTERNATE + "{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ m['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ m['content'] + '\n' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    "{% else %}{{ eos_token }}{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ '### ' + m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:' }}{% endif %}"
)
WORLD = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}\n"
    "{% else %}ask: {{ m['content'] }}\nreply:{% endif %}{% endfor %}"
)


@cache
def _byte_level(specials: tuple[str, ...], prefix_space: bool = False, digits: bool = False) -> str:
    raw = Raw(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    if digits:  # as Llama 3 and Qwen do
        pattern = Regex(
            r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"
        )
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_TEXT, trainer)
    return raw.to_str()


@cache
def _sentencepiece(specials: tuple[str, ...], scheme: str | None) -> str:
    """Llama's way: a space in front of every text by a normaliser, or of the first by Metaspace."""
    raw = Raw(models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    raw.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    raw.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    pieces = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[*specials, *pieces], show_progress=False
    )
    raw.train_from_iterator(_TEXT, trainer)
    raw.pre_tokenizer = None
    if scheme is not None:
        raw.normalizer = None
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return raw.to_str()


def _make(
    raw: str, template: str | None, eos: str, bos: str | None = None, pad: str | None = None
) -> PreTrainedTokenizerFast:
    made = Raw.from_str(raw)
    if bos is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=eos, bos_token=bos, pad_token=pad
    )
    tokenizer.chat_template = template
    return tokenizer


def _chatml(template: str | None, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    raw = _byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    return _make(raw, template, eos, pad="<|endoftext|>")


def _plain_marks() -> PreTrainedTokenizerFast:
    """Turn marks that were added to the vocabulary without being called special."""
    tokenizer = _make(_byte_level(("<|endoftext|>",)), CHATML, "<|endoftext|>")
    tokenizer.add_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    return tokenizer


def _world() -> PreTrainedTokenizerFast:
    raw = Raw.from_str(_byte_level(("<|pad|>", "<|end|>"), prefix_space=True))
    raw.normalizer = normalizers.Lowercase()
    return _make(raw.to_str(), WORLD, "<|end|>", pad="<|pad|>")


def _llama_class(template: str | None) -> PreTrainedTokenizerFast:
    """The library's own class, from a vocabulary and merges."""
    raw = Raw.from_str(_sentencepiece(("<unk>", "<s>", "</s>"), None))
    state = json.loads(raw.to_str())["model"]
    merges = [tuple(merge) for merge in state["merges"]]
    tokenizer = LlamaTokenizer(vocab=state["vocab"], merges=merges)
    tokenizer.chat_template = template
    return tokenizer


_S = ("<unk>", "<s>", "</s>")
_GEMMA = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
_DEEPSEEK = ("<|bos|>", "<|eos|>", "<|User|>", "<|Assistant|>")
_LLAMA3 = ("<|begin|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_PHI3 = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")

KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "chatml": lambda: _chatml(CHATML),
    "turn_end_is_not_eos": lambda: _chatml(CHATML, "<|endoftext|>"),
    "default_system": lambda: _chatml(DEFAULT_SYSTEM),
    "no_generation_prompt": lambda: _chatml(NO_GENERATION),
    "think": lambda: _chatml(THINK),
    "empty_thought": lambda: _chatml(EMPTY_THOUGHT),
    "marks_not_special": _plain_marks,
    "no_template": lambda: _make(_byte_level(("<eos>",)), None, "<eos>"),
    "gemma": lambda: _make(_byte_level(_GEMMA), GEMMA, "<eos>", "<bos>", "<pad>"),
    "deepseek": lambda: _make(_byte_level(_DEEPSEEK), DEEPSEEK, "<|eos|>", "<|bos|>"),
    "llama3": lambda: _make(_byte_level(_LLAMA3, False, True), LLAMA3, "<|eot_id|>", "<|begin|>"),
    "phi3": lambda: _make(_byte_level(_PHI3), PHI3, "<|endoftext|>"),
    "mistral": lambda: _make(_sentencepiece(_S, None), MISTRAL, "</s>", "<s>"),
    "llama2": lambda: _make(_sentencepiece(_S, None), LLAMA2, "</s>", "<s>"),
    "metaspace_first": lambda: _make(_sentencepiece(_S, "first"), LLAMA2, "</s>", "<s>", "</s>"),
    "metaspace_always": lambda: _make(_sentencepiece(_S, "always"), MISTRAL, "</s>", "<s>"),
    "prepend_no_template": lambda: _make(_sentencepiece(_S, None), None, "</s>", "<s>"),
    "llama_class": lambda: _llama_class(LLAMA2),
    "llama_class_no_template": lambda: _llama_class(None),
    "world": _world,
    "no_turn_end": lambda: _chatml(NO_END, "<|endoftext|>"),
}
