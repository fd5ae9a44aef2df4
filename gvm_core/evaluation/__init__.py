"""Scores mattes against the truth: cases to matte, models and methods that matte them, and the table of results."""
