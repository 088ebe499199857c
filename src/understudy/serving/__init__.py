"""The gateway: an OpenAI-compatible server that answers and, with consent, records prompts."""
