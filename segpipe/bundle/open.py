"""Opens a bundle for segmentation: one of segpipe, or one with the MONAI model zoo's layout."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import CastToTyped, Compose, EnsureChannelFirstd, LoadImaged, SaveImaged

from segpipe.admission.gate import Admitted
from segpipe.bundle.foreign_chain import ChainDecision, foreign_decision
from segpipe.bundle.labels import identity_rows
from segpipe.bundle.opening import (
    admitted_bundle,
    chain_steps,
    computation_sha256,
    confidence_of,
    is_ours,
    load_network,
    made,
    reference_ranges_of,
)
from segpipe.bundle.running import merged_configuration
from segpipe.bundle.scan_rule import RULE_IDS, ScanRule
from segpipe.bundle.source import BundleSource
from segpipe.confidence import ConfidenceCalibration
from segpipe.errors import SegpipeError, counted
from segpipe.inference.slabs import work_in_slabs
from segpipe.labels import LabelTable
from segpipe.networks.ordered_outputs import OrderedOutputs
from segpipe.reference_ranges import ReferenceRanges
from segpipe.transforms import LoadVolumed, SaveLabelMapd
from segpipe.volumes import volume_format

if TYPE_CHECKING:
    from segpipe.bundle.open_locator import OpenLocator

NEEDED = ("network_def", "inferer", "preprocessing", "postprocessing")
_LOADS = (LoadVolumed, LoadImaged)
_SAVES = (SaveLabelMapd, SaveImaged)
# transforms that reorder voxels as MONAI's readers do
_TURNS = ("as_closest_canonical", "affine_lps_to_ras", "reverse_indexing", "swap_ij", "index_order")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenBundle:
    """An open bundle, ready to segment.

    Attributes:
        root: the bundle's folder.
        labels: label table; for a foreign bundle, the classes in its metadata's `channel_def`.
        network: network on the device, in evaluation mode; an ensemble for several weights.
        device: device of the network.
        inferer: computes the scores of an image with a network.
        image_key, pred_key: keys of image and prediction in the transforms' records.
        takes: the kind of scans that the bundle takes.
        load: transform that reads a record's scan.
        preprocessing: transforms after `load`.
        postprocessing: transforms from scores to a label map, without the transform that saves it.
        configuration: merged configuration with its overrides, in plain types.
        metadata: metadata of the bundle.
        sha256: hash of everything but the scan that a label map depends on: configuration, label table, weights,
            versions, the bundle's modules.
        weights, weights_sha256: the weights files, and their hashes.
        reference_ranges: reference ranges of these weights; None if there is no such file.
        locator: finds the region to segment, see `segpipe.bundle.open_locator`; None: the whole scan is segmented.
        confidence: calibration of the expected Dice of these weights; None if there is no such file.
    """

    root: Path
    labels: LabelTable
    network: torch.nn.Module
    device: torch.device
    inferer: Any
    image_key: str
    pred_key: str
    takes: ScanRule
    load: LoadVolumed
    preprocessing: Compose
    postprocessing: Compose
    configuration: Mapping[str, Any]
    metadata: Mapping[str, Any]
    sha256: str
    weights: tuple[Path, ...]
    weights_sha256: tuple[str, ...]
    reference_ranges: ReferenceRanges | None
    locator: OpenLocator | None = None
    confidence: ConfidenceCalibration | None = None

    def read(self, path: str | Path | Sequence[str | Path], frame: int | None = None) -> MetaTensor:
        """Return a scan, `(C, x, y[, z])`, as `load` reads it; each of several files is a channel.

        Args:
            path: of the scan, or one path a channel.
            frame: number of the time frame to read, from 1; None for scans without time frames.
        """
        paths = [str(path)] if isinstance(path, str | Path) else [str(file) for file in path]
        image: MetaTensor = self.load({self.image_key: paths, "frame": frame})[self.image_key]
        return image


class _LoadForeign(LoadVolumed):
    """segpipe's reader in place of MONAI's; a 2D image file gets the axes of MONAI's PILReader, R and A."""

    def _load(self, paths: Sequence[str | Path], *, is_image: bool, frame: int | None = None) -> MetaTensor:
        image = super()._load(paths, is_image=is_image, frame=frame)
        if volume_format(paths[0]).is_2d_format:
            image.affine = torch.eye(4, dtype=torch.float64)
        return image


def open_bundle(
    bundle: str | Path | BundleSource,
    *,
    series_uid: str | None = None,
    with_ranges: bool = True,
    resample_channels: bool = False,
) -> OpenBundle:
    """Read a bundle's configuration, create its objects and load its weights.

    Args:
        bundle: the bundle's folder, or a `BundleSource` with weights, configuration and device.
        series_uid: DICOM series to read from folders that hold several.
        with_ranges: also read what lies beside the weights: reference ranges, and calibration of the expected Dice.
        resample_channels: bring channels on other grids onto the first channel's grid, also where the bundle does not.

    Raises:
        SegpipeError: the folder is not a bundle; the bundle could run code and the user has not trusted it; an id is
            missing or cannot be created; the chain has no step that loads; or the weights are missing, unreadable, or
            belong to something else.
    """
    source = BundleSource.of(bundle)
    with admitted_bundle(source, "segmentation", NEEDED, ("labels", "identity")) as (root, admission):
        opened = _opened(root, admission, source.weights, series_uid, with_ranges=with_ranges)
    if not resample_channels:
        return opened
    opened.load.resample_channels = True
    return replace(opened, takes=replace(opened.takes, resamples=True))


def _opened(
    root: Path,
    bundle: Admitted,
    weights: Sequence[str | Path],
    series_uid: str | None,
    *,
    with_ranges: bool,
) -> OpenBundle:
    parser = bundle.parser
    metadata = parser.get(parser.meta_key)
    image_key, load, preprocessing = _preprocessing(root, made(root, parser, "preprocessing"), series_uid)
    pred_key, postprocessing = _postprocessing(root, made(root, parser, "postprocessing"))
    if is_ours(parser):
        decision = ChainDecision(made(root, parser, "labels"), postprocessing)
    else:
        decision = foreign_decision(root, metadata, pred_key, preprocessing, postprocessing)
    labels, postprocessing = decision.labels, decision.postprocessing
    loaded = load_network(root, parser, weights)
    work_in_slabs(preprocessing)
    return OpenBundle(
        root=root,
        labels=labels,
        network=loaded.network if decision.order is None else OrderedOutputs(loaded.network, decision.order),
        device=loaded.device,
        inferer=made(root, parser, "inferer"),
        image_key=image_key,
        pred_key=pred_key,
        takes=_rule(root, parser),
        load=load,
        preprocessing=preprocessing,
        postprocessing=postprocessing,
        configuration=merged_configuration(parser),
        metadata=metadata,
        sha256=computation_sha256(bundle, loaded, labels=identity_rows(labels), series_uid=series_uid),
        weights=loaded.weights,
        weights_sha256=loaded.weights_sha256,
        reference_ranges=reference_ranges_of(loaded) if with_ranges else None,
        confidence=confidence_of(loaded) if with_ranges else None,
    )


def _rule(root: Path, parser: ConfigParser) -> ScanRule:
    """Return the kind of scans that a bundle takes, from its `cases`; for a foreign bundle, from its metadata."""
    if is_ours(parser):
        cases = parser.get("cases", {})
        given = {name: made(root, parser, f"cases::{name}") for name in RULE_IDS if name in cases}
        return ScanRule.of(**given)
    try:
        inputs = parser.get(parser.meta_key).get("network_data_format", {}).get("inputs", {})
        image: dict[str, Any] = next(iter(inputs.values()), {})
        return ScanRule.of(len(image.get("spatial_shape", (1, 1, 1))), image.get("num_channels", 1))
    except (AttributeError, TypeError, ValueError) as error:
        raise SegpipeError(
            f"{root}: metadata.json does not say which image the network takes ({type(error).__name__}: {error}); "
            "write it to network_data_format: inputs: image"
        ) from error


def _preprocessing(root: Path, chain: Any, series_uid: str | None) -> tuple[str, LoadVolumed, Compose]:
    """Split a chain into the step that reads the scan, with segpipe's reader, and the following steps."""
    steps = chain_steps(root, "preprocessing", chain)
    loads = [step for step in steps if isinstance(step, _LOADS)]
    if len(loads) != 1 or steps[0] is not loads[0] or len(loads[0].keys) != 1:
        raise SegpipeError(
            f"{root}: its preprocessing must begin with one step that loads one image (LoadVolumed or LoadImaged), "
            f"and has {counted(len(loads), 'such step')}; segpipe predict replaces this step by its own reader"
        )
    load, (key,), rest = loads[0], loads[0].keys, steps[1:]
    if isinstance(load, LoadVolumed):
        if series_uid is not None:
            load.series_uid = series_uid
        return str(key), load, _like(chain, rest)
    _require_file_order(root, load)
    ours = _LoadForeign(key, None, None, series_uid, image_keys=key)
    # segpipe's reader gives the channel first, and the dtype of the file
    rest = [step for step in rest if not isinstance(step, EnsureChannelFirstd)]
    return str(key), ours, _like(chain, [CastToTyped(key, torch.float32), *rest])


def _require_file_order(root: Path, load: LoadImaged) -> None:
    """Refuse a loader that reorders the voxels of a file; segpipe's reader does not."""
    for reader in load._loader.readers:
        arguments = inspect.signature(type(reader)).parameters
        for name in _TURNS:
            if name in arguments and getattr(reader, name, None) != arguments[name].default:
                raise SegpipeError(
                    f"{root}: its LoadImaged has {name}={getattr(reader, name, None)}, which changes the order of "
                    "the file's voxels; segpipe predict replaces this step by its own reader: use Orientationd "
                    "instead, which segpipe can invert"
                )


def _postprocessing(root: Path, chain: Any) -> tuple[str, Compose]:
    """Return the key of the label map, and the chain without the steps that save it."""
    steps = chain_steps(root, "postprocessing", chain)
    saves = [step for step in steps if isinstance(step, _SAVES)]
    keys = {key for save in saves for key in save.keys} or {"pred"}
    if len(keys) != 1 or any(step not in saves for step in steps[steps.index(saves[0]) :] if saves):
        raise SegpipeError(
            f"{root}: its postprocessing must end with one step that saves the label map (SaveLabelMapd or "
            "SaveImaged), which segpipe predict replaces by its own writer"
        )
    return str(keys.pop()), _like(chain, [step for step in steps if step not in saves])


def _like(chain: Compose, steps: Sequence[Any]) -> Compose:
    """Return a chain of other steps with the settings of the given chain."""
    return Compose(steps, lazy=chain.lazy, overrides=chain.overrides)
