"""Runs from file to files: the shot, its parts, writing, joining, resuming, and several workers."""
