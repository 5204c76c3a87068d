"""Evaluation of a bundle on the cases of a manifest, and its model card."""
