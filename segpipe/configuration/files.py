"""The paths of a bundle's configuration files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segpipe.configuration.finding import hint, nearest
from segpipe.errors import SegpipeError
from segpipe.names import require_configurable


def configuration_files(
    root: Path, configs: Sequence[str | Path], default: Sequence[str | Path] = ()
) -> list[Path]:
    """Return the paths of a bundle's configuration files.

    Args:
        root: the bundle's folder.
        configs: paths, or names in the bundle or its `configs/`.
        default: names in `configs/`; the first that exists is taken if `configs` is empty.

    Raises:
        SegpipeError: the folder is not a bundle, a file does not exist, or MONAI cannot use the folder's path.
    """
    require_configurable(root.resolve())
    folder = root / "configs"
    if not configs:
        existing = [folder / name for name in default if (folder / name).is_file()]
        if not existing:
            raise SegpipeError(f"{root}: has no configs/{default[0]} or .json; name its files with --config")
        return existing[:1]
    return [_configuration_file(root, Path(config)) for config in configs]


def _configuration_file(root: Path, config: Path) -> Path:
    folder = root / "configs"
    for path in (folder / config, root / config, config):
        if path.is_file():
            return path
    meant = nearest(config.name, (path.name for path in folder.glob("*")))
    raise SegpipeError(f"{config}: no such configuration, there or in {folder}{hint(meant)}")
