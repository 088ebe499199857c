"""The policy that a trainer starts from."""

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.batching import derived_seed
from understudy.models.compute import checkpoint_activations, place
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter
from understudy.models.policies import Policy, check_computes, load_policy
from understudy.training.ranks import Ranks
from understudy.training.settings import TrainerSettings


def open_policy(
    stage: str, model: str, config: TrainerSettings, ranks: Ranks, dropout: float = 0.0
) -> tuple[Policy, Tokenizer]:
    """The policy in `model` as the trainer `stage` trains it: with its adapter if there is one, on
    its device, in its precision, sharded over the ranks. Collective."""
    with ranks.together():
        policy, tokenizer = load_policy(model, mesh=ranks.mesh)
        add_adapter(policy.model, config, derived_seed(config.seed, f"{stage}/lora"))
        place(policy, config)
        if config.activation_checkpointing:
            checkpoint_activations(policy)
        set_dropout(policy, dropout)
    if ranks.world > 1:
        check_computes(model, policy)
    return policy, tokenizer
