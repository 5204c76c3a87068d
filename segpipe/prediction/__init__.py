"""A cohort of scans through a bundle: label maps on the scans' grids, volumes, and what became of each scan."""
