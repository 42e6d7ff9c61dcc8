"""Image data sets as arrays."""
