"""From the network's output to masks and segments."""
