"""The networks and their weights: blocks, UNet, VAE, folding, slicing, LoRA, download."""
