"""What the trainers that sample from the policy share: rollouts, scores, policy gradients."""
