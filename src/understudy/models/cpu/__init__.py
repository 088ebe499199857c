"""Hand-written passes for small models in fp32 on one CPU."""
