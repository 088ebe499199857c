"""Policies, scalar models, chat templates, adapters, precision."""
