"""Opens a bundle for classification: one of segpipe, or one with the MONAI model zoo's layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import SimpleInferer
from monai.transforms import Compose, MapTransform

from segpipe.admission.gate import Admitted
from segpipe.bundle.image_labels import calibration_of
from segpipe.bundle.opening import (
    admitted_bundle,
    chain_steps,
    computation_sha256,
    foreign_names,
    is_ours,
    load_network,
    made,
    reference_ranges_of,
)
from segpipe.bundle.running import merged_configuration
from segpipe.bundle.source import BundleSource
from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.inference.precision import choose_precision
from segpipe.inference.prediction_rows import TOP
from segpipe.reference_ranges import ReferenceRanges

NEEDED = ("network_def", "preprocessing")


@dataclass(frozen=True)
class OpenClassifier:
    """An open bundle, ready to classify images.

    Attributes:
        root: the bundle's folder.
        categories: the classes or findings; for a foreign bundle, the classes in its metadata's `channel_def`.
        network: network on the device, in evaluation mode; an ensemble for several weights. Logits `(B, C)`.
        device: device of the network.
        inferer: computes the logits of a batch with a network.
        image_key: key of the image in the transforms' records.
        preprocessing: all transforms from a path to the network's input, with the one that reads the file.
        calibration: from logits to probabilities and decisions, of these weights.
        heatmap_layer: name of the network's layer whose activations a heatmap shows; None: the last convolution.
        top: number of most probable names in a table, the id `top`; 3 without it.
        configuration: merged configuration with its overrides, in plain types.
        metadata: metadata of the bundle.
        sha256: hash of everything but the image that a prediction depends on: configuration, classes, weights,
            calibration, versions, the bundle's modules.
        weights, weights_sha256: the weights files, and their hashes.
        reference_ranges: reference ranges of these weights; None if there is no such file.
    """

    root: Path
    categories: Categories
    network: torch.nn.Module
    device: torch.device
    inferer: Any
    image_key: str
    preprocessing: Compose
    calibration: Calibration
    heatmap_layer: str | None
    top: int
    configuration: Mapping[str, Any]
    metadata: Mapping[str, Any]
    sha256: str
    weights: tuple[Path, ...]
    weights_sha256: tuple[str, ...]
    reference_ranges: ReferenceRanges | None = None

    def read(self, path: str | Path) -> torch.Tensor:
        """Return the network's input `(C, *spatial)` of an image file.

        Raises:
            SegpipeError: the file cannot be read, or a transform refuses the image.
        """
        try:
            image: torch.Tensor = self.preprocessing({self.image_key: str(path)})[self.image_key]
        except RuntimeError as error:  # MONAI wraps the exceptions of transforms
            known = segpipe_cause(error)
            if known is None:
                raise
            raise SegpipeError(*known.args) from error
        return image


def open_classifier(bundle: str | Path | BundleSource, *, with_ranges: bool = True) -> OpenClassifier:
    """Read a classification bundle's configuration, create its objects and load its weights.

    Args:
        bundle: the bundle's folder, or a `BundleSource` with weights, configuration and device.
        with_ranges: also read the reference ranges of the weights.

    Raises:
        SegpipeError: the folder is not a bundle, or a bundle of another task; the bundle could run code and the user
            has not trusted it; an id is missing or cannot be created; the chain does not begin with a step that loads
            one image; or the weights or their calibration are missing, unreadable, or belong to something else.
    """
    source = BundleSource.of(bundle)
    with admitted_bundle(source, "classification", NEEDED, ("labels", "identity")) as (root, admission):
        return _opened(root, admission, source, with_ranges=with_ranges)


def _opened(root: Path, admission: Admitted, source: BundleSource, *, with_ranges: bool) -> OpenClassifier:
    parser = admission.parser
    metadata = parser.get(parser.meta_key)
    categories = made(root, parser, "labels") if is_ours(parser) else _foreign_categories(root, metadata)
    loaded = load_network(root, parser, source.weights)
    calibration = calibration_of(loaded.weights, categories)
    image_key, preprocessing = _preprocessing(root, made(root, parser, "preprocessing"))
    inferer = made(root, parser, "inferer") if "inferer" in parser else SimpleInferer()
    choose_precision(getattr(inferer, "precision", "auto"), loaded.device)
    return OpenClassifier(
        root=root,
        categories=categories,
        network=loaded.network,
        device=loaded.device,
        inferer=inferer,
        image_key=image_key,
        preprocessing=preprocessing,
        calibration=calibration,
        heatmap_layer=_heatmap_layer(root, parser, loaded.network),
        top=_top(root, parser),
        configuration=merged_configuration(parser),
        metadata=metadata,
        sha256=computation_sha256(
            admission, loaded, labels=categories.to_metadata(), calibration=asdict(calibration)
        ),
        weights=loaded.weights,
        weights_sha256=loaded.weights_sha256,
        reference_ranges=reference_ranges_of(loaded) if with_ranges else None,
    )


def _foreign_categories(root: Path, metadata: Mapping[str, Any]) -> Categories:
    """Return the names in MONAI's metadata; exactly one is true, unless the metadata's `target` is findings."""
    names = foreign_names(root, metadata)
    if list(names) != list(range(len(names))):
        raise SegpipeError(
            f"{root}: channel_def in metadata.json has the indices {', '.join(map(str, names))}, must have 0 to "
            f"{len(names) - 1}; correct it"
        )
    return Categories(tuple(names.values()), metadata.get("target", "class"))


def _preprocessing(root: Path, chain: Any) -> tuple[str, Compose]:
    """Return the key of the image, and the chain from its path to the network's input."""
    first, *_ = chain_steps(root, "preprocessing", chain) or [None]
    if not isinstance(first, MapTransform) or len(first.keys) != 1:
        raise SegpipeError(
            f"{root}: its preprocessing must begin with one step that loads one image (LoadPictured or LoadImaged), "
            f"and begins with {type(first).__name__}; correct the configuration"
        )
    return str(first.keys[0]), chain


def _heatmap_layer(root: Path, parser: ConfigParser, network: torch.nn.Module) -> str | None:
    """Return the layer that the bundle names for heatmaps."""
    if "heatmap_layer" not in parser:
        return None
    name: str | None = made(root, parser, "heatmap_layer")
    layers = [layer for layer, _ in network.named_modules() if layer]
    if name is not None and name not in layers:
        raise SegpipeError(
            f"{root}: heatmap_layer is {name!r:.80}, which is no layer of its network; choose one, such as "
            f"{layers[-1]} (`segpipe info --layers` lists them)"
        )
    return name


def _top(root: Path, parser: ConfigParser) -> int:
    """Return the number of most probable names that the bundle lists."""
    count = made(root, parser, "top") if "top" in parser else TOP
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise SegpipeError(f"{root}: top is {count!r:.80}, must be a whole number of at least 1")
    return count
