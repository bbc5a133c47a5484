"""Recorded or rendered cameras played to the real node, and what a consumer saw."""
