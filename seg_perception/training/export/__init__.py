"""From a checkpoint to the model file."""
