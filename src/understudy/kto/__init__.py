"""Kahneman-Tversky optimisation: a policy from single responses, each desirable or not."""
