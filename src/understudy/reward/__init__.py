"""The reward model: trained on rankings, all pairs of one prompt as one element (s3.5, C.2)."""
