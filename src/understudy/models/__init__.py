"""Models and what they compute: policies, scalar models, chat templates, adapters, precision."""
