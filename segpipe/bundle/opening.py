"""What opening a bundle needs whatever its task: admission, weights, device and the hash of its computation."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.handlers import CheckpointLoader
from monai.transforms import Compose

from segpipe import __version__
from segpipe.admission.gate import Admitted, admitted
from segpipe.bundle.check_run import configuration_findings
from segpipe.bundle.running import in_one_message, merged_configuration
from segpipe.bundle.setup import require_device
from segpipe.bundle.source import BundleSource
from segpipe.bundle.task import Task, require_task
from segpipe.bundle.weights import load_members, state_in_checkpoint
from segpipe.confidence import ConfidenceCalibration, confidence_path
from segpipe.configuration.components import components
from segpipe.configuration.large_files import download_advice
from segpipe.configuration.reading import configuration_files
from segpipe.configuration.values import Values
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, json_sha256
from segpipe.networks import Ensemble, weights_file
from segpipe.networks.weights import load_state, read_state
from segpipe.reference_ranges import EarlierVersionError, ReferenceRanges, present_ranges_path

_CONFIGURATIONS = ("inference.yaml", "inference.yml", "inference.json")
_WHERE_ONLY = ("bundle_root", "dataset_dir", "output_dir", "device", "overwrite", "weights")

_logger = logging.getLogger(__name__)


@contextmanager
def admitted_bundle(
    source: BundleSource, task: Task | None, needed: Sequence[str], needed_of_ours: Sequence[str]
) -> Iterator[tuple[Path, Admitted]]:
    """Admit a bundle of a task whose configuration has the ids that opening it needs.

    Args:
        source: the bundle.
        task: the task that the caller can do; None: any.
        needed: ids that every bundle must have.
        needed_of_ours: ids that a bundle of segpipe must have too.

    Yields:
        the bundle's folder, and what was admitted.

    Raises:
        SegpipeError: the folder is not a bundle, or a bundle of another task; the bundle could run code and the user
            has not trusted it; an id is missing.
    """
    root = Path(source.root).resolve()  # MONAI would evaluate a relative path that begins with $
    files = bundle_files(root, source.configs)
    with admitted(root, files, source.settings, trust=source.trust) as admission:
        parser = admission.parser
        if task is not None:
            require_task(root, parser.get(parser.meta_key), task)
        ids = [*needed, *needed_of_ours] if is_ours(parser) else needed
        missing = [name for name in ids if name not in parser]
        if missing:
            raise SegpipeError(
                f"{root}: its configuration has no {', '.join(missing)}; segpipe predict needs the ids "
                f"{', '.join(ids)}"
            )
        findings = configuration_findings(parser) if is_ours(parser) else []
        if findings:
            raise SegpipeError(f"{root}: {'; '.join(findings)}")
        yield root, admission


def bundle_files(root: Path, configs: Sequence[str | Path]) -> list[Path]:
    """Return the configuration files of a bundle; see `BundleSource.configs`.

    Raises:
        SegpipeError: the folder is not a bundle, or a file is missing.
    """
    if not (root / "configs" / "metadata.json").is_file():
        raise SegpipeError(f"{root}: is not a bundle: no configs/metadata.json; give a bundle's folder")
    return configuration_files(root, configs, _CONFIGURATIONS)


def is_ours(parser: ConfigParser) -> bool:
    """Return whether a bundle has segpipe's label table in its metadata."""
    return "label_table" in parser.get(parser.meta_key)


def made(root: Path, parser: ConfigParser, name: str) -> Any:
    """Return the object of an id; turn an exception of its creation into one message."""
    with in_one_message(root, name):
        return parser.get_parsed_content(name)


@dataclass(frozen=True)
class LoadedNetwork:
    """The network of a bundle with its weights.

    Attributes:
        network: on the device, in evaluation mode; an ensemble for several weights.
        device: device of the network.
        weights, weights_sha256: the weights files, and their hashes.
    """

    network: torch.nn.Module
    device: torch.device
    weights: tuple[Path, ...]
    weights_sha256: tuple[str, ...]


def load_network(root: Path, parser: ConfigParser, weights: Sequence[str | Path]) -> LoadedNetwork:
    """Make the network of a bundle and load its weights.

    Args:
        root: the bundle's folder.
        parser: of its configuration.
        weights: weights files; empty: the files that the bundle names.

    Raises:
        SegpipeError: the network cannot be made, the machine lacks the device, or the weights are missing, unreadable,
            or belong to something else.
    """
    paths = [weights_file(Path(path)) for path in weights or default_weights(root, parser)]
    if not is_ours(parser):
        _require_downloaded(root, paths)
    untrained = made(root, parser, "network_def")
    device = require_device(made(root, parser, "device") if "device" in parser else "cpu")
    if is_ours(parser):
        identity = made(root, parser, "identity")
        with in_one_message(root, "network with its weights"):
            network = load_members(untrained, paths, identity, parser)
    else:
        members = [copy.deepcopy(untrained) for _ in paths]
        for member, path in zip(members, paths, strict=True):
            load_state(member, path, state_in_checkpoint(read_state(path)))
        network = members[0] if len(members) == 1 else Ensemble(members)
    return LoadedNetwork(
        network.to(device).eval(), device, tuple(paths), tuple(file_sha256(path) for path in paths)
    )


def reference_ranges_of(loaded: LoadedNetwork) -> ReferenceRanges | None:
    """Return the reference ranges beside the weights; None, after a warning for an earlier version, without them.

    Raises:
        SegpipeError: the file is unreadable, or was made with other weights.
    """
    weights, sha256 = loaded.weights, loaded.weights_sha256
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


def confidence_of(loaded: LoadedNetwork) -> ConfidenceCalibration | None:
    """Return the calibration of the expected Dice beside the weights; None without one.

    Raises:
        SegpipeError: the file is unreadable, or was made for other weights.
    """
    path = confidence_path(loaded.weights, loaded.weights_sha256)
    if not path.is_file():
        return None
    calibration = ConfidenceCalibration.read(path)
    if list(calibration.weights_sha256) != list(loaded.weights_sha256):
        raise SegpipeError(
            f"{path}: was made for other weights than {', '.join(str(file) for file in loaded.weights)}; write it anew "
            "with `segpipe confidence`, or remove it"
        )
    return calibration


def default_weights(root: Path, parser: ConfigParser) -> list[str | Path]:
    """Return the weights files that a bundle names; without segpipe's ids, the file of its CheckpointLoader."""
    if not is_ours(parser):
        return [_checkpoint(root, parser) or root / "models" / "model.pt"]
    named = made(root, parser, "weights")
    return [named] if isinstance(named, str) else list(named)


def _checkpoint(root: Path, parser: ConfigParser) -> Path | None:
    """Return the file that the bundle's only CheckpointLoader loads; None if it is not known."""
    settings = merged_configuration(parser)
    values = Values({**settings, "bundle_root": str(root)})
    loaded = [
        values.of(component.get("load_path"))
        for _, component in components(settings)
        if str(component["_target_"]).rpartition(".")[2] == CheckpointLoader.__name__
    ]
    if len(loaded) != 1 or not isinstance(loaded[0], str):
        return None
    return root / loaded[0]


def _require_downloaded(root: Path, paths: Sequence[Path]) -> None:
    """Refuse weights that the bundle's list of large files has, and that were not downloaded."""
    for path in paths:
        advice = "" if path.exists() else download_advice(root, path)
        if advice:
            raise SegpipeError(f"{path}: no such weights; {advice}, or name other weights with --weights")


def computation_sha256(admission: Admitted, loaded: LoadedNetwork, **further: Any) -> str:
    """Return the hash of everything but the scan that a result depends on.

    Args:
        admission: of the bundle: its configuration and modules count.
        loaded: the weights count.
        further: values in plain types that count as well.
    """
    parser = admission.parser
    described = {
        "configuration": {
            name: value for name, value in merged_configuration(parser).items() if name not in _WHERE_ONLY
        },
        "metadata": parser.get(parser.meta_key).get("network_data_format"),
        "weights": list(loaded.weights_sha256),
        "modules": _modules(admission),
        "versions": {"segpipe": __version__, "monai": importlib.metadata.version("monai")},
        **further,
    }
    return json_sha256(json.loads(json.dumps(described, default=str), parse_constant=str))


def chain_steps(root: Path, name: str, chain: Any) -> list[Any]:
    """Return the steps of a chain of transforms.

    Raises:
        SegpipeError: the chain is not a Compose.
    """
    if type(chain) is not Compose:  # a subclass may apply its steps at random
        raise SegpipeError(f"{root}: its {name} is a {type(chain).__name__}, must be a Compose")
    return list(chain.flatten().transforms)


def foreign_names(root: Path, metadata: Mapping[str, Any]) -> dict[int, str]:
    """Return index -> name of the classes in MONAI's metadata.

    Raises:
        SegpipeError: the metadata do not name each class.
    """
    try:
        (output,) = metadata["network_data_format"]["outputs"].values()
        if "channel_def" not in output:
            raise ValueError("the output has no channel_def")
        names = {int(index): str(name) for index, name in output["channel_def"].items()}
        if len(names) != output["num_channels"]:
            raise ValueError(f"channel_def names {len(names)} of {output['num_channels']} channels")
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise SegpipeError(
            f"{root}: metadata.json does not say which classes the network scores ({type(error).__name__}: {error}); "
            "write them to network_data_format: outputs: pred: channel_def"
        ) from error
    return dict(sorted(names.items()))


def _modules(bundle: Admitted) -> dict[str, str]:
    """Return path -> hash of the bundle's modules."""
    folder = bundle.modules
    if folder is None:
        return {}
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*.py"))}
