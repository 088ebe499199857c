"""The paper's public benchmarks through lm-evaluation-harness (App. D), `understudy benchmark`."""
