"""From a problem to training examples. Nothing here imports torch at import time."""
