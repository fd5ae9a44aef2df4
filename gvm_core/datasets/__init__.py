"""Clips with alpha, read from folders or composed: drawn people, people cut out of pictures, the user's own footage."""
