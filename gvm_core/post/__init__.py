"""Pure tensor functions on frames and mattes, one operation per file."""
