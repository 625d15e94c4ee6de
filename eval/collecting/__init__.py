"""Trajectories of one's own: a model or a person solves tasks with tools, and their end state says whether."""
