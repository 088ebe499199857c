"""Exports: frozen datasets and the files that hold them."""
