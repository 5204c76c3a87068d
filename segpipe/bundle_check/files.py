"""Finds files that a run would miss, and metadata that violate MONAI's schema."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from monai.handlers import CheckpointLoader

from segpipe.bundle.cases import TrainingCases, held_out_fold, inference_cases
from segpipe.bundle.image_cases import ImageCases
from segpipe.bundle.pretrained import IMAGENET, NO_WEIGHTS, start_from
from segpipe.bundle.scored_weights import image_weights_to_score, weights_to_score
from segpipe.bundle.source_weights import source_file
from segpipe.bundle.start_weights import start_from_weights
from segpipe.bundle.task import task_in
from segpipe.bundle.weights import start_from_vgg16, with_weights
from segpipe.categories import Categories
from segpipe.configuration.components import Targets, components
from segpipe.configuration.finding import ConfigFinding
from segpipe.configuration.large_files import download_advice
from segpipe.configuration.logging_conf import logging_problems
from segpipe.configuration.metadata import metadata_problems
from segpipe.configuration.reading import META, Configuration, shown_path
from segpipe.configuration.references import references_in
from segpipe.configuration.values import UNKNOWN, Values
from segpipe.dataset import load_manifest
from segpipe.dataset.run_division import run_division
from segpipe.documents import LARGEST_CONFIGURATION, DocumentError, read_document
from segpipe.errors import SegpipeError, shown
from segpipe.files import require_writable
from segpipe.labels import LabelTable
from segpipe.networks import weights_file
from segpipe.regular_files import is_possible

_SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
_MESSAGE_LENGTH = 200  # characters of a schema error, which quotes the refused value, possibly the whole file


def metadata_findings(configuration: Configuration) -> Iterator[ConfigFinding]:
    """Find violations of MONAI's metadata schema; foreign bundles are checked only if they name that schema."""
    metadata = configuration.values.get(META) or {}
    if not metadata or not (configuration.is_ours or str(metadata.get("schema", "")).endswith(_SCHEMA.name)):
        return
    if configuration.is_ours:
        try:
            if task_in(metadata) == "classification":
                Categories.from_metadata(metadata)
            else:
                LabelTable.from_metadata(metadata)
        except SegpipeError as refusal:
            yield ConfigFinding(f"{META}::label_table", f"cannot be used: {refusal}")
    for place, what in metadata_problems(metadata):
        yield ConfigFinding(f"{META}::{place}", what)
    validator = Draft7Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))
    for error in validator.iter_errors(metadata):
        innermost = best_match([error]) or error
        path = "::".join([META, *map(str, innermost.absolute_path)])
        yield ConfigFinding(path, f"does not match MONAI's schema: {innermost.message[:_MESSAGE_LENGTH]}")


def logging_findings(configuration: Configuration, file: Path, output_dir: Any) -> Iterator[ConfigFinding]:
    """Find anything in a logging.conf beside printing; in a bundle of segpipe the file is required: MONAI prints by it.

    Args:
        configuration: of the bundle.
        file: path of its logging.conf.
        output_dir: folder of the runs, or UNKNOWN.
    """
    shown_file = shown_path(file, configuration.root)
    if file.is_file():
        folder = Path(output_dir) if _is_path(output_dir) else None
        for what, line in logging_problems(file, folder):
            yield ConfigFinding("", what, shown_file, line)
    elif configuration.is_ours:
        yield ConfigFinding("", "no such file: MONAI's run would report no progress", shown_file)


def file_findings(configuration: Configuration, values: Values, targets: Targets) -> Iterator[ConfigFinding]:
    """Find missing folders and files, as far as their paths are known without running anything."""
    known = [
        (TrainingCases, _training_cases),
        (ImageCases, _training_cases),
        (inference_cases, _inference_cases),
        (with_weights, _weights),
        (weights_to_score, _scored_weights),
        (image_weights_to_score, _scored_weights),
        (start_from, _pretrained),
        (start_from_vgg16, _weights),
        (start_from_weights, _start),
        (CheckpointLoader, _checkpoint),
    ]
    for identifier, component in components(configuration.settings):
        target = targets.find(component["_target_"])
        find = next((find for known_target, find in known if known_target is target), None)
        if find is not None and values.of(component.get("_disabled_", False)) is False:
            yield from find(
                identifier, _Arguments(identifier, component, configuration.root, values, targets)
            )
    used = references_in(configuration.settings)
    folder = values.of(values.at("dataset_dir"))
    if not configuration.is_ours and "dataset_dir" in used and _is_path(folder) and not Path(folder).exists():
        yield ConfigFinding(
            "dataset_dir", _missing(folder, "folder", configuration.root, "give dataset_dir=DIR")
        )
    output = values.of(values.at("output_dir"))
    if "output_dir" in used and _is_path(output):
        try:
            require_writable(Path(output))
        except SegpipeError as refusal:
            yield ConfigFinding("output_dir", f"cannot be used: {refusal}")


class _Arguments:
    """The arguments of a component, with the ids of their values."""

    def __init__(
        self, identifier: str, component: Mapping[str, Any], root: Path, values: Values, targets: Targets
    ) -> None:
        self.identifier = identifier
        self.root = root
        self.values = values
        self._defaults = inspect.signature(targets.find(component["_target_"])).parameters

    def __getitem__(self, name: str) -> Any:
        """Return the value of an argument, or UNKNOWN."""
        if not self.values.has(f"{self.identifier}::{name}"):
            return self._defaults[name].default
        return self.values.of(self.values.at(f"{self.identifier}::{name}"))

    def source(self, name: str) -> str:
        """Return the id that an argument refers to."""
        return self.values.written_at(f"{self.identifier}::{name}")[0]


def _training_cases(_: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    """Look for the manifest, the fold in it, and each of its files."""
    folder, manifest, fold, part = (arguments[name] for name in ("dataset_dir", "manifest", "fold", "part"))
    missing_folder = _is_path(folder) and not Path(folder).is_dir()
    if missing_folder:
        yield ConfigFinding(
            arguments.source("dataset_dir"),
            _missing(folder, "folder", arguments.root, "give dataset_dir=DIR"),
        )
    if not _is_path(manifest):
        return
    try:
        described = load_manifest(manifest)
    except SegpipeError as refusal:
        yield ConfigFinding(arguments.source("manifest"), f"cannot be used: {refusal}")
        return
    if UNKNOWN in (fold, part):
        return
    try:
        there = Path(folder) if _is_path(folder) else Path()
        division = run_division(described, held_out_fold(fold), part, there)
    except SegpipeError as refusal:
        yield ConfigFinding(arguments.source("fold"), f"cannot be used: {refusal}")
        return
    if _is_path(folder) and not missing_folder:
        cases = (*division.train, *division.held_out)
        names = [name for case in cases for name in case.files if not (Path(folder) / name).exists()]
        if names:
            total = sum(len(case.files) for case in cases)
            what = f"is {folder}, which lacks {len(names)} of the manifest's {total} files: {shown(names, most=2)}"
            yield ConfigFinding(arguments.source("dataset_dir"), what)


def _inference_cases(_: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    source = arguments["dataset_dir"]
    if _is_path(source) and not Path(source).exists():
        yield ConfigFinding(
            arguments.source("dataset_dir"),
            _missing(source, "folder or file", arguments.root, "give dataset_dir=DIR"),
        )


def _weights(_: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    named = arguments["weights"]
    for path in named if isinstance(named, list) else [named]:
        if _is_path(path) and not weights_file(Path(path)).is_file():
            yield ConfigFinding(arguments.source("weights"), _missing(path, "file", arguments.root))


def _pretrained(identifier: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    if arguments["weights"] not in (IMAGENET, NO_WEIGHTS):
        yield from _weights(identifier, arguments)


def _start(_: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    """Look for weights to start from; a run that resumes does not read them again."""
    named = arguments["weights"]
    resumes = arguments.values.of(arguments.values.at("resume"))
    if named in (None, NO_WEIGHTS, UNKNOWN) or resumes is True:
        return
    try:
        source_file(named)
    except SegpipeError as refusal:
        yield ConfigFinding(arguments.source("weights"), f"cannot be used: {refusal}")


def _scored_weights(identifier: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    """Look for the named weights, or for the best weights of the named run."""
    yield from _weights(identifier, arguments)
    run_folder = arguments.source("run_folder")
    name, output = (
        arguments.values.of(arguments.values.at(f"{run_folder}::{of}")) for of in ("run_name", "output_dir")
    )
    if arguments["weights"] is not None or not _is_path(output):
        return
    if name is None:
        what = (
            "is null, and weights is null too: there are no weights to score; give run_name=NAME or "
            "weights=[FILE]"
        )
        yield ConfigFinding(arguments.values.written_at(f"{run_folder}::run_name")[0], what)
    elif isinstance(name, str) and not (best := Path(output) / name / "best.pt").is_file():
        what = f"is {name}, and there is no {best}; train first, or give weights=[FILE]"
        yield ConfigFinding(arguments.values.written_at(f"{run_folder}::run_name")[0], what)


def _checkpoint(_: str, arguments: _Arguments) -> Iterator[ConfigFinding]:
    path = arguments["load_path"]
    if _is_path(path) and not Path(path).is_file():
        yield ConfigFinding(arguments.source("load_path"), _missing(path, "file", arguments.root))


def _missing(path: str | Path, kind: str, root: Path, remedy: str = "") -> str:
    remedy = remedy or download_advice(root, Path(path))
    if not Path(path).is_absolute() and (root / path).exists():
        remedy = (
            "give $@bundle_root + '/...': the file is in the bundle, and paths begin at the working directory"
        )
    return f"is {path}: there is no such {kind}{f'; {remedy}' if remedy else ''}"


def _is_path(value: Any) -> bool:
    return value is not UNKNOWN and isinstance(value, str | Path) and is_possible(value)


def twin_findings(configuration: Configuration, files: Sequence[Path]) -> Iterator[ConfigFinding]:
    """Find an `inference.json` that is not the content of `inference.yaml` any more, since other programs read it.

    Args:
        configuration: of the run.
        files: its files; without `inference.yaml` among them nothing is found.
    """
    configs = configuration.root / "configs"
    written, twin = configs / "inference.yaml", configs / "inference.json"
    is_read = any(file.resolve() == written.resolve() for file in files)
    if not configuration.is_ours or not (is_read and twin.is_file()):
        return
    try:
        texts = [read_document(path, LARGEST_CONFIGURATION) for path in (written, twin)]
        equal = yaml.safe_load(texts[0]) == json.loads(texts[1])
    except (DocumentError, ValueError, yaml.YAMLError):
        equal = False
    if not equal:
        what = (
            "is not the content of inference.yaml, and MONAI Label and MONAI Deploy read this file: remove it, or "
            "write it anew from inference.yaml (segpipe.documents.json_of)"
        )
        yield ConfigFinding("", what, shown_path(twin, configuration.root))
