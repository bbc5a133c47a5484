"""Training, export and the data they need: the only place that imports torch."""
