"""Files of numbers: the numbers of a shipped bundle, from which its configuration is rendered.

A file of numbers is YAML. A comment behind a value is its reason, and is copied with the value into the bundle's YAML:

    extends: shared/ct_covid.yaml    # a second file; entries of this file replace its entries
    about: [comment lines at the top of train.yaml]
    inference_about: [comment lines at the top of inference.yaml]
    form: {architecture: UNet, ...}  # attributes of `Experiment`
    run: {manifest: ..., dataset_dir: ..., fold: ...}
    image: {}                        # ids of train.yaml, in three groups
    network: {}
    training: {}
    inference: {}                    # ids of inference.yaml alone
    literals: {}                     # values inside the YAML, without an id
    overlays: {paper: {about: ..., numbers: {}}}

An overlay is a file of a few overrides. Its templates `overlays/NAME.yaml` and `overlays/NAME_inference.yaml` lie
beside the files of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import yaml

from segpipe.documents import LARGEST_CONFIGURATION, DocumentError, compose_yaml, json_of, read_document
from segpipe.errors import SegpipeError
from segpipe.planning.experiment import LITERALS, Check, Crop, Experiment, Loss
from segpipe.planning.files import rendered
from segpipe.planning.plans import Intensity, Network, PlannedValue

_RENDERED = ("train.yaml", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml", "logging.conf")
_NUMBERS = ("image", "network", "training")
_TEXTS, _GROUPS = ("about", "inference_about"), (*_NUMBERS, "run", "inference", "literals", "form")
_RUN = {"manifest", "dataset_dir", "fold"}
_REPLACED_IDS = {
    *("warm_up_share", "dice_weight", "batch_dice"),
    *("rotation", "scaling", "contrast", "brightness", "gamma", "noise"),
}
_OTHER = {*_TEXTS, "run", "numbers", "inference_numbers", "literals", "channels", "groups", "from_weights"}
_FORM = {
    one.name: one.default is MISSING and one.default_factory is MISSING
    for one in fields(Experiment)
    if one.name not in _OTHER
}
_CHOICES = {
    "architecture": get_args(Network),
    "intensity": get_args(Intensity),
    "crop": get_args(Crop),
    "loss": get_args(Loss),
    "checks": get_args(Check),
}

Group = dict[str, PlannedValue]


@dataclass(frozen=True)
class Overlay:
    """A file of overrides that belongs to a bundle.

    Attributes:
        about: the part of the first line that differs between bundles.
        numbers: ids that the overlay sets beside the ids of its template.
    """

    about: str
    numbers: Mapping[str, PlannedValue]


@dataclass(frozen=True)
class NumberFile:
    """A file of numbers.

    Attributes:
        path: of the file.
        experiment: the form and the numbers of the bundle.
        overlays: overlays by file name without suffix.
    """

    path: Path
    experiment: Experiment
    overlays: Mapping[str, Overlay]


def read_number_file(path: Path) -> NumberFile:
    """Read a file of numbers, and the file that it extends.

    Args:
        path: of the file.

    Raises:
        SegpipeError: the file cannot be read, has an unknown entry, or lacks one.
    """
    about, groups, overlays = merged_entries(path)
    unknown = set(groups["literals"]) - set(LITERALS) - _REPLACED_IDS
    if unknown:
        raise SegpipeError(
            f"{path}: literals: no template has {', '.join(sorted(unknown))}; choose from "
            f"{', '.join(sorted({*LITERALS, *_REPLACED_IDS}))}"
        )
    if set(groups["run"]) != _RUN:
        raise SegpipeError(f"{path}: run: must have the entries {', '.join(sorted(_RUN))}, and no others")
    _require_form(groups["form"], path)
    form: dict[str, Any] = {key: _form_value(key, number) for key, number in groups["form"].items()}
    experiment = Experiment(
        about=about.get("about", ()),
        inference_about=about.get("inference_about", ()),
        run=groups["run"],
        numbers={key: value for group in _NUMBERS for key, value in groups[group].items()},
        inference_numbers=groups["inference"],
        literals=groups["literals"],
        **form,
    )
    return NumberFile(path, experiment, overlays)


def rendered_configs(numbers: NumberFile) -> dict[str, str]:
    """Return file name -> text of every file below `configs/` that follows from a file of numbers."""
    folder = numbers.path.parent
    texts = {name: rendered(f"configs/{name}", numbers.experiment) for name in _RENDERED}
    texts["inference.json"] = json_of(texts["inference.yaml"])
    for name, overlay in numbers.overlays.items():
        further = {"overlay": overlay.numbers, "overlay_about": overlay.about}
        for file in (f"{name}.yaml", f"{name}_inference.yaml"):
            texts[file] = rendered(f"overlays/{file}", numbers.experiment, further, folder)
    return texts


def merged_entries(path: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, Group], dict[str, Overlay]]:
    """Return comment lines, groups of values and overlays of a file of numbers, merged with the file that it extends.

    Raises:
        SegpipeError: the file cannot be read, or has an unknown entry.
    """
    entries = _entries(_mapping_of(path), path)
    about: dict[str, tuple[str, ...]] = {}
    groups: dict[str, Group] = {name: {} for name in _GROUPS}
    overlays: dict[str, Overlay] = {}
    if "extends" in entries:
        about, groups, overlays = merged_entries(path.parent / str(entries.pop("extends").value))
    for name, node in entries.items():
        if name in _TEXTS:
            about[name] = tuple(map(str, _constructed(node)))
        elif name in _GROUPS:
            groups[name] |= _numbers(node, path)
        elif name == "overlays":
            overlays |= {key: _overlay(one, path) for key, one in _entries(node, path).items()}
        else:
            known = ", ".join(("extends", *_TEXTS, *_GROUPS, "overlays"))
            raise SegpipeError(f"{path}: {name}: is no entry of a file of numbers; choose from {known}")
    return about, groups, overlays


def _overlay(node: yaml.Node, path: Path) -> Overlay:
    entries = _entries(node, path)
    numbers = _numbers(entries["numbers"], path) if "numbers" in entries else {}
    return Overlay(str(entries["about"].value) if "about" in entries else "", numbers)


def _require_form(form: Group, path: Path) -> None:
    """Refuse a form with an unknown attribute or value, or without an attribute that has no default."""
    unknown = set(form) - set(_FORM)
    if unknown:
        raise SegpipeError(
            f"{path}: form: {', '.join(sorted(unknown))}: there is no such entry; choose from {', '.join(_FORM)}"
        )
    missing = [name for name, is_needed in _FORM.items() if is_needed and name not in form]
    if missing:
        raise SegpipeError(f"{path}: form: lacks {', '.join(missing)}; add what the experiment has")
    for name, choices in _CHOICES.items():
        chosen = form[name].value if name in form else []
        for one in chosen if isinstance(chosen, list) else [chosen]:
            if one not in choices:
                raise SegpipeError(f"{path}: form: {name}: {one} must be one of: {'; '.join(choices)}")
    if form["num_channels"].value > 1 and not form.get("explicit_defaults", PlannedValue(True, "")).value:
        raise SegpipeError(
            f"{path}: form: explicit_defaults must be true for several channels; remove the entry"
        )


def _form_value(name: str, number: PlannedValue) -> Any:
    """Return an attribute of `Experiment`; the comment behind `mirrors` is its reason."""
    if name == "mirrors":
        return number
    return tuple(number.value) if name == "checks" else number.value


def _mapping_of(path: Path) -> yaml.Node:
    try:
        node = compose_yaml(read_document(path, LARGEST_CONFIGURATION))
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error}") from error
    if node is None:
        raise SegpipeError(f"{path}: is empty; write the numbers of a bundle into it")
    return node


def _entries(node: yaml.Node, path: Path) -> dict[str, yaml.Node]:
    """Return the entries of a mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise SegpipeError(f"{path}: line {node.start_mark.line + 1}: must be a mapping from names to values")
    entries: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in entries:
            raise SegpipeError(f"{path}: line {key.start_mark.line + 1}: {name} is there twice; remove one")
        entries[name] = value
    return entries


def _numbers(node: yaml.Node, path: Path) -> Group:
    """Return the values of a mapping, each with the comment behind it."""
    return {
        name: PlannedValue(_constructed(one), _comment(one)) for name, one in _entries(node, path).items()
    }


def _constructed(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_document(node)


def _comment(node: yaml.Node) -> str:
    """Return the comment behind a value, on the line where the value ends."""
    mark = node.end_mark
    rest = (mark.buffer or "")[mark.pointer :].split("\n", 1)[0].strip(" \0")
    return rest.removeprefix("#").strip() if rest.startswith("#") else ""
