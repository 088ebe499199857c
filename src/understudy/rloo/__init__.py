"""REINFORCE leave-one-out: a policy from a reward model, without a critic."""
