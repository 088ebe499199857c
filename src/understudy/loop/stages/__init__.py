"""The demo's stages, one file per kind, so that a change reruns only dependent stages."""
