"""Mattes against the truth: cases to matte, contestants that matte them, and the table that comes of it."""
