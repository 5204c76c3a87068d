"""Files that a bundle of the model zoo does not bring, but lists for download."""

from __future__ import annotations

from pathlib import Path

from segpipe.documents import LARGEST_CONFIGURATION, DocumentError, parse_yaml, read_document

_LISTS = ("large_files.yml", "large_files.yaml")


def download_advice(root: Path, path: Path) -> str:
    """Return how a missing file of a bundle is downloaded; empty if the bundle lists no such file.

    Args:
        root: the bundle's folder.
        path: of the missing file.
    """
    for name in _LISTS:
        try:
            _, content = parse_yaml(read_document(root / name, LARGEST_CONFIGURATION))
        except DocumentError:  # the list is missing or cannot be read
            continue
        rows = content.get("large_files") if isinstance(content, dict) else None
        listed = [row.get("path") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        if any(isinstance(file, str) and (root / file).resolve() == path.resolve() for file in listed):
            return (
                f"{root / name} lists it for download: run `python -m monai.bundle download_large_files "
                f"--bundle_path {root} --large_file_name {name}`"
            )
    return ""
