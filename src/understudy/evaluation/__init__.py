"""Head-to-head win rates, ratings and flags, best-of-n, benchmarks, and the report (s3.6, s4)."""
