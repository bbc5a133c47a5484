"""From scenes with labels to batches."""
