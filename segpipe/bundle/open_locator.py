"""Opens the locator of an open bundle: the bundle in its folder `locator/`, with the margin of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.bundle.locator_margin import LOCATES, LOCATOR_FOLDER, LocatorMargin, margin_path
from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256
from segpipe.networks.weights_files import PYTORCH, SAFETENSORS

_REMEDY = "remove the folder, or leave the locator out with --no-locate"


@dataclass(frozen=True)
class OpenLocator:
    """The locator of a bundle, ready to locate.

    Attributes:
        bundle: the locator's own bundle.
        margin: of its weights.
    """

    bundle: OpenBundle
    margin: LocatorMargin

    @property
    def sha256(self) -> str:
        """Hash of everything but the scan that a located region depends on."""
        return json_sha256({"bundle": self.bundle.sha256, "margin_mm": list(self.margin.margin_mm)})


def with_locator(
    opened: OpenBundle, source: BundleSource, report: Callable[[str], None] = lambda _: None
) -> OpenBundle:
    """Return an open bundle with its locator; unchanged if it has none, or if that has no weights yet.

    Args:
        opened: the bundle that the locator serves.
        source: of that bundle; device and trust hold for the locator too.
        report: called with a message if the locator has no weights.

    Raises:
        SegpipeError: the locator serves other classes or other scans, its weights cannot be used, or they have no
            margin, or the margin of other weights.
    """
    root = opened.root / LOCATOR_FOLDER
    if not (root / "configs" / "metadata.json").is_file():
        return opened
    if not any((root / "models" / f"model{form}").is_file() for form in (PYTORCH, SAFETENSORS)):
        report(
            f"{root}: the locator has no weights yet, so whole scans are segmented; train and promote the locator"
        )
        return opened
    locator = open_bundle(
        BundleSource(root, device=source.device, trust=source.trust),
        with_ranges=False,
        resample_channels=opened.takes.resamples,
    )
    _require_serves(root, locator, opened)
    return replace(
        opened, locator=OpenLocator(locator, _margin(locator.weights[0], locator.weights_sha256[0]))
    )


def _require_serves(root: Path, locator: OpenBundle, opened: OpenBundle) -> None:
    """Refuse a locator of other classes, or for scans of another kind."""
    served, ours = locator.metadata.get(LOCATES), list(opened.labels.names)
    if served != ours:
        named = ", ".join(map(str, served)) if isinstance(served, list) else "no classes"
        raise SegpipeError(
            f"{root}: is not the locator of {opened.root}: its metadata.json names {named} as the classes that it "
            f"locates, and the bundle has {', '.join(ours)}; {_REMEDY}"
        )
    if locator.labels.num_classes != 2:
        raise SegpipeError(
            f"{root}: a locator has background and one class, this one has {', '.join(locator.labels.names)}; {_REMEDY}"
        )
    kinds = [(one.takes.spatial_dims, one.takes.num_channels) for one in (locator, opened)]
    if kinds[0] != kinds[1] or kinds[0][0] != (3,):
        (dims, channels), (other_dims, other_channels) = kinds
        raise SegpipeError(
            f"{root}: takes scans of {_text(dims)} dimensions with {channels} channel(s), and the bundle takes "
            f"{_text(other_dims)} dimensions with {other_channels}; both must take the same volumes; {_REMEDY}"
        )


def _text(dims: tuple[int, ...]) -> str:
    return " or ".join(map(str, dims))


def _margin(weights: Path, sha256: str) -> LocatorMargin:
    path = margin_path(weights)
    if not path.is_file():
        raise SegpipeError(
            f"{weights}: the locator has no margin ({path.name}), so its box could cut off foreground; promote its "
            "weights again with `segpipe promote --replace`, which measures the margin, or give --no-locate"
        )
    margin = LocatorMargin.read(path)
    if margin.weights_sha256 != sha256:
        raise SegpipeError(
            f"{path}: was measured with other weights than {weights.name}; promote the weights again with `segpipe "
            "promote --replace`, which measures the margin, or give --no-locate"
        )
    return margin
