"""The same thing in successive frames: which it is, and how it moves."""
