"""From a manifest to a bundle: checks the files, makes the fingerprint, applies the rules, writes the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segpipe.bundle.locator_margin import LOCATES, LOCATOR_FOLDER
from segpipe.bundle.source_weights import SourceWeights, source_weights
from segpipe.dataset import Manifest, load_manifest, require_valid, set_findings
from segpipe.dataset.importing.channel_files import planned_channels
from segpipe.documents import json_of
from segpipe.errors import SegpipeError, shown
from segpipe.known_terms import with_known_codes
from segpipe.labels import LabelTable
from segpipe.names import require_configurable
from segpipe.planning.experiment import Experiment
from segpipe.planning.files import as_json, rendered
from segpipe.planning.fingerprint import Fingerprint, fingerprint
from segpipe.planning.like_network import like_network
from segpipe.planning.locator import locator_fingerprint, locator_groups, locator_labels, locator_plan
from segpipe.planning.memory import step_bytes
from segpipe.planning.network_form import network_form
from segpipe.planning.plans import Plan, PlannedValue, PlanOptions
from segpipe.planning.rules import plan
from segpipe.planning.start_copy import StartCopy
from segpipe.planning.writing import dicom_modality, held_out, in_a_line, metadata_head, run_ids, write_bundle

_TEMPLATED = (
    *(
        "configs/train.yaml",
        "configs/inference.yaml",
        "configs/evaluate.yaml",
        "configs/multi_gpu_train.yaml",
    ),
    *("configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE"),
)


@dataclass(frozen=True)
class PlannedBundle:
    """A written bundle.

    Attributes:
        root: folder of the bundle.
        plan: numbers of the bundle, with reasons.
        data: fingerprint that the plan follows from.
        labels: label table of the bundle, with the coded terms that follow from the names.
        locator: numbers of the bundle's locator; None without one.
        start: weights that training starts from; None: random numbers.
    """

    root: Path
    plan: Plan
    data: Fingerprint
    labels: LabelTable
    locator: Plan | None = None
    start: StartCopy | None = None


def plan_bundle(
    manifest: str | Path,
    dataset_dir: str | Path,
    output: str | Path,
    options: PlanOptions,
    start: str | Path | None = None,
) -> PlannedBundle:
    """Plan a bundle for a data set and write it.

    Args:
        manifest: name of a shipped manifest, or a path.
        dataset_dir: folder of the manifest's files.
        output: folder of the bundle; must not exist.
        options: options of the user; the manifest's share replaces `training_share`.
        start: file or bundle of weights whose network the plan repeats, and that training starts from; None: a network
            that follows from the data, and random numbers.

    Returns:
        The written bundle.

    Raises:
        SegpipeError: the weights to start from cannot be read, or no plan can repeat their network; the output exists,
            a path has a character that no configuration can hold (`#`), the check refuses files, the manifest has no
            label maps, balanced draws are asked for and a class is in no case, or an error of
            `segpipe.planning.rules.plan`.
    """
    root, folder = Path(output), Path(dataset_dir)
    for path in (root, folder, Path(manifest)):
        require_configurable(path)
    network_form(options, options.dims or 3)
    if root.exists():
        raise SegpipeError(f"{root}: exists already; choose another --output, or remove it")
    source = None if start is None else source_weights(start)
    if source is not None:
        options = _like(source, options)
    described = load_manifest(manifest)
    if described.target != "mask":
        raise SegpipeError(
            f"{described.name}: its target is {described.target}; plans are made for label maps"
        )
    labels = with_known_codes(described.label_table())
    reports = require_valid(described.training, folder, described, labels)
    data = fingerprint(described.training, reports, labels)
    if options.balanced:
        _require_every_class(described, data, labels)
    fold, share = held_out(described, validate=options.validate)
    planned = plan(data, replace(options, training_share=share), step_bytes)
    apart = [finding.message for finding in set_findings(described.training, reports)]
    if apart:
        planned = replace(planned, warnings=(*planned.warnings, _findings(apart)))
    run = run_ids(manifest, folder, fold)
    copy = None if source is None else StartCopy.of(source, planned.architecture, labels.output_names)
    texts = _texts(described, planned, labels, data, run, copy=copy)
    locator = None
    if options.locate:
        locator = locator_plan(data, replace(options, training_share=share), planned, step_bytes)
        of_locator = replace(described, name=f"{described.name}_locator")
        united = locator_labels(labels)
        parts = _texts(of_locator, locator, united, locator_fingerprint(data), run, locates=labels)
        texts |= {f"{LOCATOR_FOLDER}/{name}": text for name, text in parts.items()}
    write_bundle(root, texts, *(() if copy is None else (copy.write,)))
    return PlannedBundle(root, planned, data, labels, locator, copy)


def _findings(messages: Sequence[str]) -> str:
    text = shown(messages, "; ", most=2)
    return in_a_line(
        f"{len(messages)} finding(s) of `segpipe data check`, look at them before you train: {text}"
    )


def _like(source: SourceWeights, options: PlanOptions) -> PlanOptions:
    """Return options for a plan that repeats the network of weights."""
    like = like_network(source)
    dims = like.architecture.dims
    if options.dims not in (None, dims):
        raise SegpipeError(
            f"plan: the network of {source.path} is {dims}D, and --dims is {options.dims}; leave out --dims, or --from"
        )
    return replace(options, like=like, dims=dims)


def _require_every_class(manifest: Manifest, data: Fingerprint, labels: LabelTable) -> None:
    absent = [name for name, one in zip(labels.names[1:], data.classes[1:], strict=True) if not one.cases]
    if absent:
        raise SegpipeError(
            f"plan: --balanced draws rare classes more often, and no training case of {manifest.name} has "
            f"{shown(absent)}; add such cases, remove the class from the manifest, or leave --balanced out"
        )


def _texts(
    described: Manifest,
    planned: Plan,
    labels: LabelTable,
    data: Fingerprint,
    run: dict[str, PlannedValue],
    locates: LabelTable | None = None,
    copy: StartCopy | None = None,
) -> dict[str, str]:
    """Return path below the bundle's folder -> text of every file.

    `locates`: the classes that a locator unites; `copy`: the weights to start from.
    """
    experiment = _experiment(described, planned, labels, run)
    if locates is not None:
        experiment = replace(experiment, groups=locator_groups(locates))
    if copy is not None:
        about = (*experiment.about, in_a_line(copy.sentence))
        experiment = replace(experiment, from_weights=copy.default, about=about)
    further = {
        "name": in_a_line(described.name),
        "described": described,
        "classes_text": in_a_line(", ".join(labels.target_names)),
        "modality_text": in_a_line(", ".join(described.modality)),
        "labels": labels,
        "warnings": planned.warnings,
        "peak_gb": planned.peak_gb,
        "fold_is_held_out": run["fold"].value != "all",
        "data": data,
        "start": copy,
    }
    texts = {name: rendered(name, experiment, further) for name in _TEMPLATED}
    texts["configs/inference.json"] = json_of(texts["configs/inference.yaml"])
    metadata = _metadata(described, planned, labels)
    if locates is not None:
        metadata[LOCATES] = list(locates.names)
    texts["configs/metadata.json"] = as_json(metadata)
    return texts


def _experiment(
    manifest: Manifest, planned: Plan, labels: LabelTable, run: dict[str, PlannedValue]
) -> Experiment:
    """Return the plan as the experiment that the YAML templates take."""
    network, mirrors = planned.architecture, planned.mirrors
    formats = "NIfTI, MetaImage, NRRD and DICOM series" if planned.is_volume else "formats"
    about = (
        f"Trains a network that segments {', '.join(labels.target_names)} on {', '.join(manifest.modality)}.",
        "Written by `segpipe plan`, which gives a reason for every number. Change what you know better.",
        f"In {network.dims}D: {planned.dims.why}. Training is planned to peak at {planned.peak_gb:.1f} GB of memory.",
        *(f"WARNING: {warning}" for warning in planned.warnings),
    )
    return Experiment(
        about=tuple(map(in_a_line, about)),
        inference_about=(f"Segments scans: a folder that mixes {formats}, or one scan.",),
        architecture=network.name,
        dims=network.dims,
        spatial_dims=3 if planned.is_volume else 2,
        num_channels=network.num_channels,
        channels=planned_channels(manifest),
        resample_channels=manifest.resample_channels,
        intensity=planned.intensity,
        run=run,
        numbers=planned.numbers,
        axcodes=planned.axcodes,
        mirrors=mirrors,
        flips=mirrors.value if "flips" in planned.numbers else [],
        crop="by class, indices cached" if planned.crops_by_class else "anywhere",
        by_region=bool(labels.regions),
        ignores=labels.ignore_value is not None,
    )


def _metadata(manifest: Manifest, planned: Plan, labels: LabelTable) -> dict[str, Any]:
    network = planned.architecture
    outputs = {str(channel): name for channel, name in enumerate(labels.output_names)}
    shape = planned.numbers["window_size"].value
    modality = "CT" if planned.intensity != "z-score" else dicom_modality(manifest.modality)
    return {
        **metadata_head(manifest, "segmentation", f"Segments {', '.join(labels.target_names)}", modality),
        "image_classes": f"{network.num_channels} channel(s): {', '.join(manifest.modality)}",
        "label_classes": ", ".join(f"{row.value} {row.name}" for row in labels.labels),
        "pred_classes": f"{len(outputs)} channels: {', '.join(outputs.values())}",
        **labels.to_metadata(),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if planned.intensity == "hu" else "magnitude",
                    "modality": modality,
                    "num_channels": network.num_channels,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1] if planned.intensity == "hu" else [-10, 10],
                    "is_patch_data": True,
                    "channel_def": {str(number): text for number, text in enumerate(manifest.modality)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(outputs),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [-100, 100],
                    "is_patch_data": True,
                    "channel_def": outputs,
                }
            },
        },
    }
