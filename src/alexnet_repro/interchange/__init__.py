"""Trained networks from other programs, and for them."""
