"""One-problem Critique Fine-Tuning: recipes, runs, models, training and the command line."""

import os

# Nothing leaves the machine unasked; TRL would report every trainer it makes.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
