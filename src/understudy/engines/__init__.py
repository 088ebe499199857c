"""Rollouts: responses drawn from a policy, each with its own noise."""
