"""TRL's loss and gradient on one batch of pairs; tests/unit/dpo/test_loss.py holds what it prints.

    .peers/trl/bin/python benchmarks/trl_losses.py     (TRL 1.16, `make bench-peers`)

Policy and reference are a small Llama whose weights are sines, so that every version of every
library makes the same ones.
"""

import json

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAIRS = [
    {"prompt_ids": [5, 9, 21], "chosen_ids": [7, 3, 2], "rejected_ids": [11, 2]},
    {"prompt_ids": [8, 30], "chosen_ids": [4, 2], "rejected_ids": [6, 6, 13, 17, 2]},
    {"prompt_ids": [12, 14, 15, 16, 18], "chosen_ids": [19, 2], "rejected_ids": [20, 2]},
]
BETA = 0.3


def sine_model(phase: float) -> LlamaForCausalLM:
    """A Llama of two layers; weight i of a tensor is sin(i * i + phase)."""
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for weight in model.parameters():
            count = torch.arange(weight.numel(), dtype=torch.float64)
            weight.copy_(torch.sin(count * count + phase).view_as(weight))
    return model


def main() -> None:
    """One step of the trainer at a rate of 0; prints what it logged."""
    import trl  # not in our environment, whose tests take the model and pairs from here
    from datasets import Dataset

    raw = Tokenizer(models.WordLevel({f"t{i}": i for i in range(32)}, unk_token="t0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="t1", eos_token="t2")
    arguments = trl.DPOConfig(
        output_dir="trl_out",
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        learning_rate=0.0,
        max_grad_norm=1e9,
        gradient_checkpointing=False,
        per_device_train_batch_size=len(PAIRS),
        max_steps=1,
        max_length=None,
        logging_steps=1,
        beta=BETA,
        disable_dropout=True,
    )
    trainer = trl.DPOTrainer(
        model=sine_model(0.0),
        ref_model=sine_model(0.5),
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": "t5", "chosen": "t7", "rejected": "t8"}]),
    )
    trainer.train_dataset = Dataset.from_list(PAIRS)  # the trainer itself takes texts only
    trainer.train()
    (row,) = [row for row in trainer.state.log_history if "grad_norm" in row]
    names = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/accuracies")
    print(json.dumps({"trl": trl.__version__} | {name: row[name] for name in names}))


if __name__ == "__main__":
    main()
