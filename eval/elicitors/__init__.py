"""Ways to decode that need no training."""
