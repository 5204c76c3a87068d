"""Segments a cohort of scans with a bundle: label maps on the scans' grids, volumes, and the outcome of each scan."""
