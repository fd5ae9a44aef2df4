"""One page about this machine for a bug report: what is installed, what is there, what works, and what is wrong."""
