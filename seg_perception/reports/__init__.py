"""What is told of a run: tables, plots, pages."""
