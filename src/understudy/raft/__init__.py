"""Reward-ranked fine-tuning: a policy fine-tuned on the best of its own responses."""
