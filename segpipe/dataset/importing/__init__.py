"""From a folder or a table to the cases of a manifest."""
