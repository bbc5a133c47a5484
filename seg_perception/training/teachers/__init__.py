"""Large networks of others, whose answers become labels to correct."""
