"""Formulas that packages with and without torch share."""
