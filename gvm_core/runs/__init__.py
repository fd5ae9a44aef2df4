"""Runs from file to files: what to make (`shot`), where its parts are, write, join, resume, and several workers."""
