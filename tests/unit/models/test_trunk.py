import copy

import pytest
import torch
from tests.fixtures_models import make_policy

from understudy.models.policies import Policy
from understudy.models.scalar import ScalarModel, shares_prefix


def test_a_policys_weights_have_the_librarys_names():
    policy = make_policy()
    assert list(policy.state_dict()) == list(policy.model.state_dict())
    names = [name for name, _ in policy.named_parameters()]
    assert names == [name for name, _ in policy.model.named_parameters()]
    assert len(list(policy.parameters())) == len(names)
    other = make_policy(seed=1)
    other.load_state_dict(policy.state_dict())
    assert all(map(torch.equal, other.parameters(), policy.parameters()))


def test_nothing_is_written_on_the_librarys_model():
    policy = make_policy()
    before = {id(module): set(vars(module)) for module in policy.model.modules()}
    ids_BT = torch.tensor([[5, 9, 20, 31]])
    policy.logprobs(ids_BT, torch.ones_like(ids_BT))
    assert shares_prefix(policy)
    assert set(policy.tried) == {"direct_pass", "shares_prefix"}
    assert before == {id(module): set(vars(module)) for module in policy.model.modules()}


def test_a_trial_is_made_once():
    policy = make_policy()
    ids_BT = torch.tensor([[5, 9, 20, 31]])
    policy.logprobs(ids_BT, torch.ones_like(ids_BT))
    passes = []
    own = type(policy.trunk).forward

    def counted(*args, **kwargs):
        passes.append(1)
        return own(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(policy.trunk), "forward", counted)
        policy.logprobs(ids_BT, torch.ones_like(ids_BT))
        assert not passes
        make_policy().logprobs(ids_BT, torch.ones_like(ids_BT))
        assert passes  # another model is tried anew


def test_precision_goes_with_the_trunk():
    policy = make_policy()
    assert not policy.bf16
    policy.bf16 = True
    model = ScalarModel.from_policy(policy)
    assert model.trunk is policy.trunk
    assert model.bf16
    assert model.twin().bf16
    assert copy.deepcopy(policy).bf16


def test_a_copy_has_a_trunk_and_a_head_of_its_own():
    policy = make_policy()
    other = copy.deepcopy(policy)
    assert isinstance(other, Policy)
    assert other.stop_ids == policy.stop_ids == {0}
    assert other.trunk is not policy.trunk
    with torch.no_grad():
        other.head.weight_VD.zero_()
    assert policy.head.weight_VD.any()
