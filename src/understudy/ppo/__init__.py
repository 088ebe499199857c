"""Reinforcement learning from the reward model: PPO and PPO-ptx (s3.5, C.4)."""
