"""Finds mistakes in a bundle's configuration without running it."""
