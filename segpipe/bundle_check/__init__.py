"""The check of a whole bundle before anything of it runs: its configuration, its files and its metadata."""
