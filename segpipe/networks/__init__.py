"""Networks and their weights on disk."""

from segpipe.networks.weights import Identity, load_weights, read_sidecar, save_weights, sidecar_path

__all__ = ["Identity", "load_weights", "read_sidecar", "save_weights", "sidecar_path"]
