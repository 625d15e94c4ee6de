"""One-problem Critique Fine-Tuning: recipes, runs, models, training and the command line."""

__version__ = "0.1.0"
