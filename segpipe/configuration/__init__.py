"""What can be wrong with a bundle's configuration, and is found without running it."""
