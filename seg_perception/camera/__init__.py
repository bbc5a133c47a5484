"""From a camera's message to the network's input."""
