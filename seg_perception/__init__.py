"""Real-time panoptic perception: camera images to masks and drivable ground."""

__version__ = "1.0.0"
