"""Labels: what labelers send, gold items, disagreements."""
