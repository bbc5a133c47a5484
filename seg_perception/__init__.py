"""Real-time panoptic perception: camera images to masks and drivable ground."""

__version__ = "0.1.0"
