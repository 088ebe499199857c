"""The demo's stages, a file for each kind, so that a change reruns only what depends on it."""
