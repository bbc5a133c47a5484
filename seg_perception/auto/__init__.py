"""From a folder of labels to a model that was measured, without a configuration: what fits is found out and written down."""
