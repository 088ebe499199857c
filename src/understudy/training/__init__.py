"""What a training run needs beside its model: run folder, checkpoints, optimisers, settings."""
