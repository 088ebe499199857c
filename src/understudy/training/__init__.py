"""Everything that a training run needs besides its model: run folder, checkpoints, settings."""
