"""Hosts: they own device, memory, progress and cancelling."""
