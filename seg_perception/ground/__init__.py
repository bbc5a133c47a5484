"""From a mask to the ground: geometry, drivable areas, grid, free space."""
