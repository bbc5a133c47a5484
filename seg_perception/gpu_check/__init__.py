"""What only a GPU can show: the device's steps against the CPU's, their graphs and times, and training on it."""
