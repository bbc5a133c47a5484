"""Rendered roads and drives, whose truth is exact."""
