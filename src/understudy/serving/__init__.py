"""The gateway: an OpenAI-compatible server that, with consent, records the prompts that it
answers."""
