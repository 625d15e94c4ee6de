"""One-problem Critique Fine-Tuning: recipes, runs, models, training and the command line."""

import logging
import os

# Nothing leaves the machine unasked; TRL would report every trainer it makes.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# TRL's version is pinned (constraints.txt), so that what may change in its next one is no news here
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
# At every import on a CPU it regrets that one of its kernels is not on the hub; the others do as well.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
