"""Erasure: prompts deleted with everything that depends on them, also from the disk."""
