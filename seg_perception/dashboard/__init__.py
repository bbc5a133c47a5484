"""A page on this machine that shows what the node sees, says and suffers, while somebody looks at it."""
