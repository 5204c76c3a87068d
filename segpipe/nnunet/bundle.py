"""Imports a trained model of nnU-Net 2: a bundle that segments as nnU-Net does, with the folds as an ensemble."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.admission.gate import admitted
from segpipe.bundle.labels import identity_rows
from segpipe.bundle.running import in_one_message, resolved_components
from segpipe.documents import json_of
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.labels import LabelTable
from segpipe.names import require_configurable, require_name, text_problem
from segpipe.networks import Identity, save_weights
from segpipe.networks.state_fit import fitting_state
from segpipe.nnunet.configuration import NnunetConfiguration, configuration_of
from segpipe.nnunet.labels import channel_names, label_table
from segpipe.nnunet.model_folder import FINAL, Checkpoint, ModelFolder, read_checkpoint, read_model_folder
from segpipe.nnunet.network import ImportedNetwork, network_form, network_state
from segpipe.planning.files import as_json, template_text
from segpipe.planning.plans import PlannedValue
from segpipe.planning.writing import dicom_modality, in_a_line, program_metadata, write_bundle

_TEMPLATES = Path(__file__).with_name("templates")
_NO_LICENCE = "not named in dataset.json; name it before you share weights"


@dataclass(frozen=True)
class ImportedBundle:
    """A written bundle.

    Attributes:
        root: folder of the bundle.
        configuration: of nnU-Net's plans.
        labels: label table of the bundle.
        trainer: class name of the trainer.
        folds: folds whose weights the bundle has.
        flips: axes along which windows are mirrored.
    """

    root: Path
    configuration: NnunetConfiguration
    labels: LabelTable
    trainer: str
    folds: tuple[str, ...]
    flips: tuple[int, ...]


@dataclass(frozen=True)
class _Model:
    """What the files of a bundle are written from."""

    folder: ModelFolder
    name: str
    first: Checkpoint
    configuration: NnunetConfiguration
    form: ImportedNetwork
    labels: LabelTable
    channels: tuple[str, ...]

    @property
    def weights(self) -> dict[str, str]:
        """Fold -> file of its weights; the first one has the name that other programs look for."""
        folds = list(self.folder.checkpoints)
        return {fold: f"model_fold_{fold}.pt" if place else "model.pt" for place, fold in enumerate(folds)}


def import_nnunet(
    folder: str | Path,
    output: str | Path,
    *,
    folds: Sequence[str] = (),
    checkpoint: str = FINAL,
    network_of_plans: bool = False,
) -> ImportedBundle:
    """Write a bundle from a trained model of nnU-Net 2.

    Args:
        folder: of the model, as `nnUNetv2_train` leaves it.
        output: folder of the bundle; must not exist.
        folds: folds to take; empty: every numbered fold that has the checkpoint, else `all`.
        checkpoint: name of the checkpoints.
        network_of_plans: whether a foreign trainer builds the plans' network and predicts as nnU-Net does.

    Raises:
        SegpipeError: the output exists; the folder is no model of nnU-Net 2; or the model needs what segpipe does not
            do, see `segpipe.nnunet.configuration` and `segpipe.nnunet.network`.
    """
    root = Path(output)
    require_configurable(root)
    if root.exists():
        raise SegpipeError(f"{root}: exists already; choose another --output, or remove it")
    found = read_model_folder(Path(folder), folds, checkpoint)
    where = found.root / "dataset.json"
    channels, labels = channel_names(found.dataset, where), label_table(found.dataset, where)
    first = read_checkpoint(next(iter(found.checkpoints.values())))
    plans = found.root / "plans.json"
    configuration = configuration_of(found.plans, first.configuration, len(channels), plans)
    if any(axis >= configuration.dims for axis in first.mirror_axes):
        raise SegpipeError(
            f"{first.path}: mirrors along {list(first.mirror_axes)}, but the network has {configuration.dims} axes; "
            "give the plans that the model was trained with"
        )
    model = _Model(
        found,
        _text(found.plans.get("dataset_name")) or _text(found.dataset.get("name")) or root.name,
        first,
        configuration,
        network_form(configuration, plans),
        labels,
        channels,
    )
    write_bundle(
        root, _texts(model), lambda staged: _write_weights(staged, model, as_planned=network_of_plans)
    )
    return ImportedBundle(
        root, configuration, labels, first.trainer, tuple(found.checkpoints), first.mirror_axes
    )


def _write_weights(root: Path, model: _Model, *, as_planned: bool) -> None:
    """Write the weights of every fold into a bundle whose files are there."""
    with admitted(root, [root / "configs" / "inference.yaml"]) as bundle:
        with in_one_message(root, "network_def"):
            network = bundle.parser.get_parsed_content("network_def")
        transforms = resolved_components(bundle.parser, "deterministic_transforms")
    identity = Identity.of(network, transforms, identity_rows(model.labels))
    for fold, path in model.folder.checkpoints.items():
        checkpoint = model.first if path == model.first.path else read_checkpoint(path)
        _require_same(checkpoint, model.first)
        state = network_state(checkpoint.state, model.form, path, checkpoint.trainer, as_planned=as_planned)
        network.load_state_dict(fitting_state(path, state, network))
        save_weights(
            root / "models" / model.weights[fold], network, identity, _origin(model, fold, checkpoint)
        )


def _require_same(checkpoint: Checkpoint, first: Checkpoint) -> None:
    own, others = ((one.configuration, one.trainer, list(one.mirror_axes)) for one in (checkpoint, first))
    if own != others:
        raise SegpipeError(
            f"{checkpoint.path}: configuration, trainer and mirrored axes are {own}, those of {first.path} are "
            f"{others}; choose folds of one training with --fold"
        )


def _origin(model: _Model, fold: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the sidecar keeps of a training."""
    return {
        "manifest": {"name": model.name},
        "fold": fold,
        "epoch": checkpoint.epoch,
        "configuration": {"window_size": list(model.configuration.window_size)},
        "imported_from": {
            "program": "nnU-Net 2",  # its files do not tell the exact version
            "trainer": checkpoint.trainer,
            "plans": _text(model.folder.plans.get("plans_name")),
            "configuration": checkpoint.configuration,
            "fold": fold,
            "checkpoint": checkpoint.path.name,
            "checkpoint_sha256": checkpoint.sha256,
            "plans_sha256": file_sha256(model.folder.root / "plans.json"),
            "dataset_sha256": file_sha256(model.folder.root / "dataset.json"),
        },
    }


def _texts(model: _Model) -> dict[str, str]:
    """Return path below the bundle's folder -> text of every file."""
    configuration, dataset = model.configuration, model.folder.dataset
    ids = _ids(model)
    plans = _text(model.folder.plans.get("plans_name")) or "plans without a name"
    variables = {
        "model": in_a_line(f"{model.name}, {model.first.trainer}, {plans}"),
        "name": in_a_line(model.name),
        "configuration": configuration,
        "form": model.form,
        "ids": list(ids),
        "labels": model.labels,
        "by_region": bool(model.labels.regions),
        "weights": list(model.weights.values()),
        "num_channels": len(model.channels),
        "channels": [
            {"name": name, "files": f"{{case}}_{number:04d}"} for number, name in enumerate(model.channels)
        ]
        if len(model.channels) > 1
        else [],
        "classes_text": in_a_line(", ".join(model.labels.target_names)),
        "channels_text": in_a_line(", ".join(model.channels)),
        "folds": list(model.folder.checkpoints),
        "flips": list(model.first.mirror_axes),
        "origin": in_a_line(
            f"Data set {model.name}, trainer {model.first.trainer}, plans {plans}, configuration {configuration.name}."
        ),
        "dataset_name": in_a_line(model.name),
        "described": in_a_line(_text(dataset.get("description"))),
        "reference": in_a_line(_text(dataset.get("reference"))),
        "licence": in_a_line(_licence(dataset)),
    }
    files = {
        "configs/inference.yaml": "inference.yaml",
        "configs/logging.conf": "configs/logging.conf",
        "docs/README.md": "README.md",
        "docs/data_license.txt": "data_license.txt",
        "LICENSE": "LICENSE",
    }
    texts = {path: template_text(name, ids, variables, _TEMPLATES) for path, name in files.items()}
    texts["configs/inference.json"] = json_of(texts["configs/inference.yaml"])
    texts["configs/metadata.json"] = as_json(_metadata(model))
    return texts


def _ids(model: _Model) -> dict[str, PlannedValue]:
    """Return the ids of the configuration with the reason of each."""
    configuration = model.configuration
    numbers = {
        "axis_order": (
            list(configuration.axis_order),
            "axis of the scan for each axis of the network's input",
        ),
        "spacing_mm": (list(configuration.spacing_mm), "null: each scan's own"),
        "schemes": ([dict(scheme) for scheme in configuration.schemes], "normalisation of each channel"),
        "window_size": (list(configuration.window_size), "nnU-Net's patch_size"),
        "overlap": (0.5, "at least; the windows are evenly spread"),
        **{name: (value, "") for name, value in model.form.numbers.items()},
        "flips": (list(model.first.mirror_axes), "axes of mirror images whose scores are averaged too"),
        "precision": ("float32", "auto: bfloat16 where the processor or card computes in it"),
    }
    return {name: PlannedValue(value, why) for name, (value, why) in numbers.items()}


def _metadata(model: _Model) -> dict[str, Any]:
    labels, configuration, dataset = model.labels, model.configuration, model.folder.dataset
    outputs = {str(channel): name for channel, name in enumerate(labels.output_names)}
    is_ct = any(scheme["scheme"] == "ct" for scheme in configuration.schemes)
    modality = "CT" if is_ct else dicom_modality(model.channels)
    shape = {"spatial_shape": list(configuration.window_size), "dtype": "float32", "is_patch_data": True}
    return {
        **program_metadata("imported from nnU-Net"),
        "name": model.name,
        "task": "segmentation",
        "modality": modality,
        "description": f"Segments {', '.join(labels.target_names)} on {', '.join(model.channels)}",
        "authors": "not filled in",
        "copyright": "not filled in",
        "data_source": _text(dataset.get("description")) or f"{model.name}, not described in dataset.json",
        "data_license": _licence(dataset),
        "data_type": "not filled in",
        "intended_use": "Research only. Not a medical device, not for diagnosis.",
        "references": [
            "Isensee et al., nnU-Net, Nature Methods 18, 203-211 (2021)",
            *filter(None, [_text(dataset.get("reference"))]),
        ],
        "image_classes": f"{len(model.channels)} channel(s): {', '.join(model.channels)}",
        "label_classes": ", ".join(f"{row.value} {row.name}" for row in labels.labels),
        "pred_classes": f"{len(outputs)} channels: {', '.join(outputs.values())}",
        **labels.to_metadata(),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if is_ct else "magnitude",
                    "modality": modality,
                    "num_channels": len(model.channels),
                    **shape,
                    "value_range": [-100, 100],
                    "channel_def": {str(number): name for number, name in enumerate(model.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(outputs),
                    **shape,
                    "value_range": [-100, 100],
                    "channel_def": outputs,
                }
            },
        },
    }


def _licence(dataset: Mapping[str, Any]) -> str:
    return _text(dataset.get("licence")) or _text(dataset.get("license")) or _NO_LICENCE


def _text(value: Any) -> str:
    """Return a text of nnU-Net's files in one line; empty for anything else.

    Raises:
        SegpipeError: MONAI would evaluate the text, or it holds control characters.
    """
    if not isinstance(value, str):
        return ""
    text = re.sub(r"\s+", " ", value).strip()
    problem = text_problem(text)
    if problem is not None:
        raise SegpipeError(f"the text {text!r:.80} of the model's files {problem}")
    if text:
        require_name(text, "the model's files")
    return text
