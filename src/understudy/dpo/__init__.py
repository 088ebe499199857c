"""Direct preference optimisation: a policy from rankings, without a reward model or sampling."""
