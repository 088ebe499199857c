"""Understudy: the whole InstructGPT loop, from users' prompts to an aligned model and back."""

__version__ = "0.1.0"
