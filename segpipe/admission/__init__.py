"""Which bundles may run: an audit of the configuration, and the user's consent to code."""
