"""Training: configurations, losses, batches, the loop and LoRAs. Only the command line imports it."""
