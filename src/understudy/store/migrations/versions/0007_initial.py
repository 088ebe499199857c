"""The first released schema: `tables.py` and `labeling_tables.py` as they were then.

`migrate.upgrade` makes a new store from the tables and marks it with the newest revision, so there
is nothing to run here. Numbers begin at 7 because stores with earlier schemas exist, which must be
refused rather than taken for this one.
"""

revision = "0007"
down_revision = None
