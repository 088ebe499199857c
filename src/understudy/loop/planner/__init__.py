"""What a training run needs before it starts: memory per card, hours, price (`understudy plan`)."""
