"""The networks and their weights: the only place that touches diffusers, and only when a model is loaded."""
