import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from understudy.world import language as lang
from understudy.world.corpus import EOS, _ask_passage, passage

SIZES = {
    "200k": dict(hidden_size=64, num_hidden_layers=3, intermediate_size=176),
    "1m": dict(hidden_size=128, num_hidden_layers=5, intermediate_size=344),
    "3m": dict(hidden_size=192, num_hidden_layers=6, intermediate_size=512),
}
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    " {{ message['content'] }}<|end|>\n{% else %}ask: {{ message['content'] }}\nreply:{% endif %}{% endfor %}"
)


def train_tokenizer(texts, vocab_size=1024):
    tokenizer = Tokenizer(models.BPE(unk_token="<|unk|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted({c for t in texts for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(t) for c in w})
    from string import ascii_lowercase, digits, punctuation

    alphabet = sorted(set(alphabet) | set(ascii_lowercase + digits + punctuation))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        special_tokens=["<|pad|>", "<|end|>", "<|unk|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator((t.replace(EOS, "") for t in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unk|>",
        padding_side="right",
        chat_template=CHAT_TEMPLATE,
    )


def model_config(size, tokenizer):
    return LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **SIZES[size],
    )


def benchmark_prompts(facts, number):
    rng = random.Random(77)
    out = {"reading": [], "facts": [], "zog": [], "sentiment": []}
    while len(out["reading"]) < number:
        text = ""
        for shot in range(3):
            sentences = passage(rng, 3)
            kind, person, answer = _ask_passage(rng, sentences)
            question = {"where": "where is {p}?", "bought": "what did {p} buy?", "owns": "what does {p} have?"}[kind].format(p=person)
            text += "read this: " + " ".join(sentences) + f"\n{question}"
            if shot < 2:
                text += f" {answer}\n"
        out["reading"].append((text, answer))
    for (p, r), v in list(facts.table.items()):
        out["facts"].append((rng.choice(lang.RELATIONS[r][2]).format(p=p), facts.statement(p, r)))
    for _ in range(number):
        s = lang.fill(rng.choice(lang.ZOG_SENTENCES), rng)
        out["zog"].append((f"{s} in zog:", lang.to_zog(s)))
        good = rng.random() < 0.5
        s = lang.fill("the {f} was {adj}.", rng, adj=rng.choice(lang.GOOD_WORDS if good else lang.BAD_WORDS))
        out["sentiment"].append((s, "good." if good else "bad."))
    return out
