"""lm-eval tasks, the one grader, statistics and the report."""
