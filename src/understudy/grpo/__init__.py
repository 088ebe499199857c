"""Group relative policy optimisation: PPO's surrogate with advantages from a group's scores."""
