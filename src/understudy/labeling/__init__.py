"""Labels from people or simulations: assignment, agreement, screening (s3.4, B)."""
