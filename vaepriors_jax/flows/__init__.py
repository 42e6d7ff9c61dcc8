"""Normalising flows: one factory a file."""
