"""Training: configurations, losses, batches, the loop, LoRAs. Only the command line imports it."""
