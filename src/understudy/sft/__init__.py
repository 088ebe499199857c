"""Supervised fine-tuning on demonstrations (s3.5, C.1)."""
