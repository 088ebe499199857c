"""The policy that a trainer starts from."""

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.batching import derived_seed
from understudy.models.compute import checkpoint_activations, place
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter
from understudy.models.policies import Policy, load_policy
from understudy.training.settings import TrainerSettings


def open_policy(
    stage: str, model: str, config: TrainerSettings, dropout: float = 0.0
) -> tuple[Policy, Tokenizer]:
    """The policy in `model`, unsharded, as the trainer `stage` trains it: with its adapter if there
    is one, on its device, in its precision."""
    policy, tokenizer = load_policy(model)
    add_adapter(policy.model, config, derived_seed(config.seed, f"{stage}/lora"))
    place(policy, config)
    if config.activation_checkpointing:
        checkpoint_activations(policy)
    set_dropout(policy, dropout)
    return policy, tokenizer
