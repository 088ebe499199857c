"""The first schema that a release has: what `tables.py` and `labeling_tables.py` held then.

A new store is made from the tables and marked with the newest revision (`migrate.upgrade`), so
there is nothing to run here. Numbers begin at 7 because stores with earlier schemas exist: those
are refused rather than taken for this one.
"""

revision = "0007"
down_revision = None
