"""Synthetic MRI volumes and CT slices with labels, the same for the same seed: data that need no download."""
