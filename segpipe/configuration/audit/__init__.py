"""Judges what a bundle would run, without running any of it."""
