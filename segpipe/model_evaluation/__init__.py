"""A bundle scored on the cases of a manifest, and its model card."""
