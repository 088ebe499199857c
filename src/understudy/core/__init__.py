"""Tensor code that several stages share."""
