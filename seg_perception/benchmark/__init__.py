"""Times, loads and bounds."""
