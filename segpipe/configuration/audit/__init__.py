"""What a bundle would run, looked at without running any of it."""
