"""A rendered street and a drive through it, whose truth is exact."""
