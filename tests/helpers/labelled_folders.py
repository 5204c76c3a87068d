"""Small folders of pictures with classes, and tables that label them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_picture(path: Path, seed: int = 0) -> Path:
    """Write a grey picture of 8 x 8 random pixels; the suffix gives the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return path


def write_pictures(folder: Path, paths: list[str]) -> Path:
    """Write a different picture to each path below a folder; return the folder."""
    for seed, path in enumerate(paths):
        write_picture(folder / path, seed)
    return folder


def write_table(path: Path, *lines: str) -> Path:
    """Write the lines of a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
