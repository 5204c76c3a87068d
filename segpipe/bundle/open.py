"""Opens a bundle for segmentation: one of segpipe, or one with the MONAI model zoo's layout."""

from __future__ import annotations

import copy
import importlib.metadata
import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import CastToTyped, Compose, EnsureChannelFirstd, LoadImaged, SaveImaged

from segpipe import __version__
from segpipe.admission.gate import Admitted, admitted
from segpipe.bundle.check_run import configuration_findings
from segpipe.bundle.labels import identity_rows
from segpipe.bundle.running import in_one_message, merged_configuration
from segpipe.bundle.scan_rule import ScanRule
from segpipe.bundle.setup import require_device
from segpipe.bundle.source import BundleSource
from segpipe.bundle.weights import load_members
from segpipe.configuration.reading import configuration_files
from segpipe.errors import SegpipeError, counted
from segpipe.files import file_sha256, json_sha256
from segpipe.inference.slabs import work_in_slabs
from segpipe.labels import LabelTable, class_color
from segpipe.networks import Ensemble, weights_file
from segpipe.networks.weights import load_state, read_state
from segpipe.reference_ranges import EarlierVersionError, ReferenceRanges, present_ranges_path
from segpipe.transforms import LoadVolumed, SaveLabelMapd
from segpipe.volumes import volume_format

NEEDED = ("network_def", "inferer", "preprocessing", "postprocessing")
_CONFIGURATIONS = ("inference.yaml", "inference.yml", "inference.json")
_WHERE_ONLY = ("bundle_root", "dataset_dir", "output_dir", "device", "overwrite", "weights")
_RULES = ("spatial_dims", "num_channels", "slice_size", "channels", "channel_order", "resample_channels")
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
        with_ranges: also read the reference ranges of the weights.
        resample_channels: bring channels on other grids onto the first channel's grid, also where the bundle does not.

    Raises:
        SegpipeError: the folder is not a bundle; the bundle could run code and the user has not trusted it; an id is
            missing or cannot be created; the chain has no step that loads; or the weights are missing, unreadable, or
            belong to something else.
    """
    source = BundleSource.of(bundle)
    root = Path(source.root).resolve()  # MONAI would evaluate a relative path that begins with $
    files = _configuration_files(root, source.configs)
    with admitted(root, files, source.settings, trust=source.trust) as admission:
        _require_needed(root, admission.parser)
        opened = _opened(root, admission, source.weights, series_uid, with_ranges=with_ranges)
    if not resample_channels:
        return opened
    opened.load.resample_channels = True
    return replace(opened, takes=replace(opened.takes, resamples=True))


def _configuration_files(root: Path, configs: Sequence[str | Path]) -> list[Path]:
    if not (root / "configs" / "metadata.json").is_file():
        raise SegpipeError(f"{root}: is not a bundle: no configs/metadata.json; give a bundle's folder")
    return configuration_files(root, configs, _CONFIGURATIONS)


def _require_needed(root: Path, parser: ConfigParser) -> None:
    needed = [*NEEDED, "labels", "identity"] if _is_ours(parser) else NEEDED
    missing = [name for name in needed if name not in parser]
    if missing:
        raise SegpipeError(
            f"{root}: its configuration has no {', '.join(missing)}; segpipe predict needs the ids {', '.join(needed)}"
        )
    if _is_ours(parser):
        findings = configuration_findings(parser)
        if findings:
            raise SegpipeError(f"{root}: {'; '.join(findings)}")


def _is_ours(parser: ConfigParser) -> bool:
    return "label_table" in parser.get(parser.meta_key)


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
    ours = _is_ours(parser)
    labels = _made(root, parser, "labels") if ours else _foreign_labels(root, metadata)
    untrained = _made(root, parser, "network_def")
    device = _device(root, parser)
    paths = [weights_file(Path(path)) for path in weights or _default_weights(root, parser)]
    if ours:
        identity = _made(root, parser, "identity")
        with in_one_message(root, "network with its weights"):
            network = load_members(untrained, paths, identity, parser)
    else:
        members = [copy.deepcopy(untrained) for _ in paths]
        for member, path in zip(members, paths, strict=True):
            load_state(member, path, _foreign_state(read_state(path)))
        network = members[0] if len(members) == 1 else Ensemble(members)
    image_key, load, preprocessing = _preprocessing(root, _made(root, parser, "preprocessing"), series_uid)
    work_in_slabs(preprocessing)
    pred_key, postprocessing = _postprocessing(root, _made(root, parser, "postprocessing"))
    hashes = tuple(file_sha256(path) for path in paths)
    configuration = merged_configuration(parser)
    described = {
        "configuration": {name: value for name, value in configuration.items() if name not in _WHERE_ONLY},
        "metadata": metadata.get("network_data_format"),
        "labels": identity_rows(labels),
        "weights": list(hashes),
        "modules": _modules(bundle),
        "series_uid": series_uid,
        "versions": {"segpipe": __version__, "monai": importlib.metadata.version("monai")},
    }
    return OpenBundle(
        root=root,
        labels=labels,
        network=network.to(device).eval(),
        device=device,
        inferer=_made(root, parser, "inferer"),
        image_key=image_key,
        pred_key=pred_key,
        takes=_rule(root, parser),
        load=load,
        preprocessing=preprocessing,
        postprocessing=postprocessing,
        configuration=configuration,
        metadata=metadata,
        sha256=json_sha256(json.loads(json.dumps(described, default=str), parse_constant=str)),
        weights=tuple(paths),
        weights_sha256=hashes,
        reference_ranges=_reference_ranges(paths, hashes) if with_ranges else None,
    )


def _modules(bundle: Admitted) -> dict[str, str]:
    """Return path -> hash of the bundle's modules."""
    folder = bundle.modules
    if folder is None:
        return {}
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*.py"))}


def _made(root: Path, parser: ConfigParser, name: str) -> Any:
    """Return the object of an id; turn an exception of its creation into one message."""
    with in_one_message(root, name):
        return parser.get_parsed_content(name)


def _reference_ranges(weights: Sequence[Path], sha256: Sequence[str]) -> ReferenceRanges | None:
    path = present_ranges_path(weights, sha256)
    if path is None:
        return None
    try:
        ranges = ReferenceRanges.read(path)
    except EarlierVersionError as error:
        _logger.warning(f"{error}; until then scans are not compared with the training cases")
        return None
    if list(ranges.weights_sha256) != list(sha256):
        raise SegpipeError(
            f"{path}: was made with other weights than {', '.join(str(file) for file in weights)}; write it anew with "
            "`segpipe reference-ranges`, or remove it"
        )
    return ranges


def _device(root: Path, parser: ConfigParser) -> torch.device:
    return require_device(_made(root, parser, "device") if "device" in parser else "cpu")


def _default_weights(root: Path, parser: ConfigParser) -> list[str | Path]:
    if not _is_ours(parser):
        return [root / "models" / "model.pt"]
    named = _made(root, parser, "weights")
    return [named] if isinstance(named, str) else list(named)


def _rule(root: Path, parser: ConfigParser) -> ScanRule:
    """Return the kind of scans that a bundle takes, from its `cases`; for a foreign bundle, from its metadata."""
    if _is_ours(parser):
        cases = parser.get("cases", {})
        given = {name: _made(root, parser, f"cases::{name}") for name in _RULES if name in cases}
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


def _foreign_state(state: Any) -> Any:
    """Return the network's state in a checkpoint that has it under one key, as MONAI's CheckpointSaver writes it."""
    if isinstance(state, Mapping):
        nested = [value for value in state.values() if isinstance(value, Mapping)]
        for name in ("model", "network", "state_dict"):
            if isinstance(state.get(name), Mapping):
                return state[name]
        if len(state) == len(nested) == 1:
            return nested[0]
    return state


def _foreign_labels(root: Path, metadata: Mapping[str, Any]) -> LabelTable:
    """Return the label table of MONAI's metadata; files store class indices."""
    try:
        (output,) = metadata["network_data_format"]["outputs"].values()
        names = {int(index): str(name) for index, name in output["channel_def"].items()}
        if len(names) != output["num_channels"]:
            raise ValueError(f"channel_def names {len(names)} of {output['num_channels']} channels")
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise SegpipeError(
            f"{root}: metadata.json does not say which classes the network scores ({type(error).__name__}: {error}); "
            "write them to network_data_format: outputs: pred: channel_def"
        ) from error
    return LabelTable.from_rows(
        {
            "index": index,
            "name": name,
            "color": class_color(index),
            "value": index,
        }
        for index, name in sorted(names.items())
    )


def _preprocessing(root: Path, chain: Any, series_uid: str | None) -> tuple[str, LoadVolumed, Compose]:
    """Split a chain into the step that reads the scan, with segpipe's reader, and the following steps."""
    steps = _steps(root, "preprocessing", chain)
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
    steps = _steps(root, "postprocessing", chain)
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


def _steps(root: Path, name: str, chain: Any) -> list[Any]:
    if type(chain) is not Compose:  # a subclass may apply its steps at random
        raise SegpipeError(f"{root}: its {name} is a {type(chain).__name__}, must be a Compose")
    return list(chain.flatten().transforms)
