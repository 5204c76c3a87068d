"""The kind of scans that a bundle takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from segpipe.bundle.source import BundleSource
from segpipe.configuration.files import configuration_files
from segpipe.configuration.metadata import read_metadata
from segpipe.dataset.importing.channel_files import ScanChannel, order_of, scan_channels
from segpipe.errors import SegpipeError, shown
from segpipe.information.reading import INFERENCE_FILES
from segpipe.information.settings import read_configuration, resolved
from segpipe.volumes import Volume, VolumeHeader

RULE_IDS = ("spatial_dims", "num_channels", "slice_size", "channels", "channel_order", "resample_channels")
"""Ids of a bundle's `cases` that make up its rule."""


class ChannelRule(TypedDict, total=False):
    """The channels of the scans that a bundle takes, as a configuration states them.

    Attributes:
        channels: names of the channels in order, each with the template of its files, see `ScanChannel`.
        channel_order: names of the channels in the order of a file that holds all; None: not known.
        resample_channels: bring channels on other grids onto the first channel's grid.
    """

    channels: Sequence[Mapping[str, Any]] | None
    channel_order: Sequence[str] | None
    resample_channels: bool


@dataclass(frozen=True)
class ScanRule:
    """The kind of scans that a bundle takes.

    Attributes:
        spatial_dims: number of spatial dimensions: 2, 3 or both.
        num_channels: number of channels of each scan.
        slice_size: pixels along each side that 2D scans must have; None: any size.
        channels: names of the channels in order, and of their files; empty where the bundle does not name them.
        order: positions of the channels in a file that holds all; None: not known if each channel has files, else as
            in `channels`.
        resamples: whether channels on other grids are brought onto the first channel's grid.
    """

    spatial_dims: tuple[int, ...]
    num_channels: int
    slice_size: tuple[int, ...] | None
    channels: tuple[ScanChannel, ...] = ()
    order: tuple[int, ...] | None = None
    resamples: bool = False

    @classmethod
    def of(
        cls,
        spatial_dims: int | Sequence[int] = 3,
        num_channels: int = 1,
        slice_size: Sequence[int] | None = None,
        channels: Sequence[Mapping[str, Any]] | None = None,
        channel_order: Sequence[str] | None = None,
        resample_channels: bool = False,
    ) -> ScanRule:
        """Return the rule from the values of a configuration.

        Raises:
            SegpipeError: the slice size is not two whole numbers; the channels or their order are no such values.
        """
        dims = (spatial_dims,) if isinstance(spatial_dims, int) else tuple(spatial_dims)
        size = None if slice_size is None else whole_size(slice_size, 2)
        named = scan_channels(channels)
        if named and len(named) != num_channels:
            raise SegpipeError(
                f"channels names {len(named)}, num_channels is {num_channels}; name each channel once"
            )
        return cls(dims, num_channels, size, named, order_of(named, channel_order), resample_channels)

    @classmethod
    def in_files(cls, source: BundleSource) -> ScanRule | None:
        """Return the rule as a bundle's files state it, without running any of it.

        Args:
            source: the bundle.

        Returns:
            the rule; None for a bundle without segpipe's label table, and where a value is an expression or part of an
            override.

        Raises:
            SegpipeError: a file cannot be read, or the values are none of a rule.
        """
        root = Path(source.root)
        path = root / "configs" / "metadata.json"
        is_nested = any("::" in name or "#" in name for name in source.settings)  # may set a part of the rule
        if is_nested or not path.is_file() or "label_table" not in read_metadata(path):
            return None
        files = configuration_files(root, source.configs, INFERENCE_FILES)
        configuration = read_configuration(files, source.settings)
        cases = configuration.get("cases", {})
        given = {name: resolved(configuration, cases[name]) for name in RULE_IDS if name in cases}
        unresolved = [name for name, value in given.items() if value is None and cases[name] is not None]
        return None if unresolved or any(map(_is_evaluated, given.values())) else cls.of(**given)

    def check(self, header: VolumeHeader | Volume, num_files: int = 1) -> None:
        """Refuse a scan of another kind.

        Args:
            header: of the scan, with the channels of all its files.
            num_files: number of its files; several have one channel each, in order.

        Raises:
            SegpipeError: the message has the kind of the scan and the required kind; or one file holds channels in an
                order that is not known.
        """
        grid = header.grid
        names = [channel.name for channel in self.channels]
        if num_files > 1 and (num_files, header.num_channels) != (self.num_channels, self.num_channels):
            raise SegpipeError(
                f"{header.path}: {num_files} files with {header.num_channels} channels, the bundle takes "
                f"{self.num_channels}{f' ({shown(names)})' if names else ''}; give one file for each channel"
            )
        if grid.spatial_dims not in self.spatial_dims or header.num_channels != self.num_channels:
            either = " or ".join(f"{dims}D" for dims in self.spatial_dims)
            raise SegpipeError(
                f"{header.path}: {grid.spatial_dims}D with {header.num_channels} channel(s), the bundle takes "
                f"{either} with {self.num_channels}; {_remedy(header, self.num_channels)}"
            )
        if num_files == 1 < self.num_channels and self.order is None and any(c.files for c in self.channels):
            raise SegpipeError(
                f"{header.path}: one file with {header.num_channels} channels, whose order is not known; give the "
                f"order in the file as channel_order (segpipe predict: --set channel_order=[{','.join(names)}])"
            )
        if self.slice_size is not None and grid.spatial_dims == 2 and grid.size != self.slice_size:
            raise SegpipeError(
                f"{header.path}: a slice of {grid.size} pixels, slice_size is {self.slice_size} (x, y). A 2D image "
                "has no spacing, so its size is its scale; resample the image, or use weights and a --slice_size "
                "(segpipe predict: --set slice_size=[...]) that fit"
            )


def _is_evaluated(value: Any) -> bool:
    """Return whether MONAI would evaluate a part of a value."""
    if isinstance(value, str):
        return value.startswith(("$", "@", "%"))
    if isinstance(value, Mapping):
        return any(map(_is_evaluated, value.values()))
    return isinstance(value, list) and any(map(_is_evaluated, value))


def _remedy(header: VolumeHeader | Volume, num_channels: int) -> str:
    """Return the remedy for a scan of another kind; a fourth axis may be time."""
    frames = header.num_frames if isinstance(header, VolumeHeader) else 1
    if frames > 1 and header.num_channels == frames * num_channels:
        return f"if its {frames} volumes are time frames, add --frames all, ed or a number (segpipe predict)"
    return "give one file a scan, or choose another bundle"


def whole_size(size: Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    """Return the size of a slice or volume from a configuration.

    Args:
        size: voxels along each axis.
        spatial_dims: number of axes.

    Raises:
        SegpipeError: the size is not as many whole numbers above 0.
    """
    whole = isinstance(size, list | tuple) and all(isinstance(n, int) and n > 0 for n in size)
    if not whole or len(size) != spatial_dims:
        raise SegpipeError(
            f"slice_size is {size!r}; must be {spatial_dims} whole numbers, such as [512, 512]"
        )
    return tuple(size)
