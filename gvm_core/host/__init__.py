"""Who owns device, memory, progress and cancel."""
