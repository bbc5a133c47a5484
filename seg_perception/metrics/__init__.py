"""What is measured: each metric, what frames add to it, and how sure a difference is."""
