"""Rollouts: responses drawn from a policy, each from noise of its own."""
