"""The networks and their weights: blocks, UNet, VAE, what is folded and sliced of them, LoRA, download."""
