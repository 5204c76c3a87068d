"""Many ordinary runs of one bundle: a run for each fold, and a search over its numbers."""
