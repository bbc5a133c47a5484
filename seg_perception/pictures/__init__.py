"""What people look at: overlay, bird's-eye view, and how both are drawn."""
