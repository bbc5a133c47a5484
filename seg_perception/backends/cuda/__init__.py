"""The steps beside the network on an NVIDIA GPU."""
