"""Prompts: the gateway's log of them, and who has read which."""
