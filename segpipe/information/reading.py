"""Reads the facts of a bundle, a weights file or a run from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segpipe.bundle_names import bundle_folder
from segpipe.configuration.files import configuration_files
from segpipe.configuration.metadata import read_metadata, task_in
from segpipe.documents import DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.information.expected_dice import with_expected_dice
from segpipe.information.facts import Information, Scores, Settings, Training, WeightsFile
from segpipe.information.settings import read_configuration, settings_of, training_settings

INFERENCE_FILES = ("inference.yaml", "inference.yml", "inference.json")
_SUFFIXES = (".pt", ".pth", ".safetensors")
_RUN = "configuration.yaml"
_LARGEST_RECORD = 2**25  # bytes, as of a sidecar
_INT8_RECORD = ".int8.json"


def information_of(
    path: str | Path,
    weights: Sequence[Path] = (),
    configs: Sequence[Path] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Information:
    """Return what a bundle, a weights file or a run's folder is; nothing of it is run.

    Args:
        path: folder or name of a bundle, a weights file, or folder of a run.
        weights: of a bundle, in place of the files in its models/.
        configs: configuration files of a bundle, see `segpipe.configuration.files.configuration_files`.
        overrides: id -> value of a bundle's configuration.

    Raises:
        SegpipeError: it is none of the three, or a file cannot be read.
    """
    found = bundle_folder(path)
    given = [
        name for name, value in (("--weights", weights), ("--config", configs), ("--set", overrides)) if value
    ]
    is_file = found.suffix.lower() in _SUFFIXES and not found.is_dir()
    is_run = (found / _RUN).is_file() and not (found / "configs").is_dir()
    if given and (is_file or is_run):
        raise SegpipeError(
            f"{found}: is no bundle, which {', '.join(given)} needs; leave the option out, or give the bundle"
        )
    if is_file:
        return weights_information(found)
    return run_information(found) if is_run else bundle_information(found, weights, configs, overrides)


def bundle_information(
    root: Path,
    weights: Sequence[Path] = (),
    configs: Sequence[Path] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Information:
    """Return what a bundle is; its weights need not exist. For the arguments see `information_of`."""
    path = root / "configs" / "metadata.json"
    if not path.is_file():
        raise SegpipeError(
            f"{root}: is not a bundle: no configs/metadata.json; give a bundle's folder or name, a weights file, or a "
            "run's folder"
        )
    metadata = read_metadata(path)
    configuration = read_configuration(configuration_files(root, configs, INFERENCE_FILES), overrides or {})
    given = network_input(root, metadata)
    rows = _rows(root, metadata)
    files = tuple(map(_weights_file, weights or _weights_in(root)))
    records = [_record(file) for file in files]
    training = next((_training(record["training"]) for record, _ in records if record.get("training")), None)
    about = Information(
        kind="bundle",
        path=root,
        name=str(metadata.get("name") or root.resolve().name),
        version=str(metadata.get("version") or ""),
        description=str(metadata.get("description") or ""),
        task=task_in(metadata, root),
        target=_target(root, metadata),
        classes=tuple(name for name, _ in rows),
        values=tuple(value for _, value in rows if value is not None),
        regions=_region_names(metadata),
        channels=_channels(given),
        modality=str(given.get("modality") or ""),
        shape=tuple(given["spatial_shape"]),
        settings=settings_of(configuration),
        data=str(metadata.get("data_source") or ""),
        licence=str(metadata.get("data_license") or ""),
        weights=files,
        training=training,
        scores=_metadata_scores(metadata),
        notes=tuple(note for _, note in records if note),
    )
    return with_expected_dice(_with_quantised(about))


def weights_information(path: Path) -> Information:
    """Return what a weights file is, by the record beside it; without a record only its size and hash are known.

    Raises:
        SegpipeError: there is no such file, or the record cannot be read.
    """
    if not path.is_file():
        raise SegpipeError(f"{path}: no such weights file; correct the path")
    file = _weights_file(path)
    record, note = _record(file)
    about = _of_record("weights", path, record, (file,), (note,) if note else ())
    return with_expected_dice(_with_quantised(about))


def run_information(folder: Path) -> Information:
    """Return what a run is: its configuration, its weights, and the scores of its validation and evaluations.

    Raises:
        SegpipeError: a file of the run cannot be read.
    """
    files = tuple(
        _weights_file(folder / name) for name in ("best.pt", "last.pt") if (folder / name).is_file()
    )
    records = [_record(file) for file in files]
    notes = [note for _, note in records if note]
    record = next((record for record, _ in records if record), {})
    if not files:
        notes.append("the run has no weights yet")
    configuration = read_configuration([folder / _RUN], {})
    record = {"training": {"configuration": configuration}, **record}
    evaluations = [
        scores for path in sorted(folder.glob("*/**/summary.json")) for scores in _evaluation(folder, path)
    ]
    about = _of_record("run", folder, record, files, tuple(notes))
    return _with_scores(about, evaluations)


def _of_record(
    kind: Any, path: Path, record: Mapping[str, Any], files: tuple[WeightsFile, ...], notes: tuple[str, ...]
) -> Information:
    """Return what the record beside weights says."""
    labels = [row for row in record.get("labels") or [] if isinstance(row, Mapping)]
    rows = [row for row in labels if "classes" not in row]
    made = record.get("training") or {}
    configuration = made.get("configuration") or {}
    is_classification = bool(rows) and "color" not in rows[0]
    validation = made.get("validation")
    return Information(
        kind=kind,
        path=path,
        name=path.name,
        task="classification" if is_classification else "segmentation",
        target=str(configuration.get("target") or "class or findings") if is_classification else "label map",
        classes=tuple(str(row.get("name")) for row in rows),
        values=() if is_classification else tuple(int(row["value"]) for row in rows if "value" in row),
        regions=tuple(str(row.get("name")) for row in labels if "classes" in row),
        settings=settings_of(configuration, record.get("transforms")) if record else Settings(),
        data=str((made.get("manifest") or {}).get("name") or ""),
        weights=files,
        training=_training(made) if made else None,
        scores=(Scores("validation of this epoch", _figures(validation)),) if _figures(validation) else (),
        notes=notes,
    )


def _with_quantised(about: Information) -> Information:
    """Return the information with the Dice of each network in int8 beside the weights, or why it is of no use."""
    scores, notes = list(about.scores), list(about.notes)
    for file in about.weights:
        if file.size is None or not file.path.with_suffix(_INT8_RECORD).is_file():
            continue
        from segpipe.inference.engines.quantised import (
            read_quantised,  # needs more packages than a list of bundles
        )

        try:
            record = read_quantised(file.path, file.sha256).record
        except SegpipeError as error:
            notes.append(str(error))
            continue
        scored = _metadata_scores(
            {
                "eval_metrics": {f"{name}_dice": value for name, value in record.int8.items()},
                "evaluation": {**record.cases, "cases": record.cases.get("number")},
            }
        )
        scores += [replace(one, of=f"{one.of}, {file.path.name} in int8") for one in scored]
    return replace(about, scores=tuple(scores), notes=tuple(notes))


def _with_scores(about: Information, further: Sequence[Scores]) -> Information:
    return replace(about, scores=(*about.scores, *further))


def _weights_in(root: Path) -> list[Path]:
    """Return the weights files of a bundle's models/; the usual one if there is none."""
    folder = root / "models"
    found = sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES) if folder.is_dir() else []
    return found or [folder / "model.pt"]


def _weights_file(path: Path) -> WeightsFile:
    if not path.is_file():
        return WeightsFile(path, None, "")
    return WeightsFile(path, path.stat().st_size, file_sha256(path))


def _record(file: WeightsFile) -> tuple[dict[str, Any], str]:
    """Return the record beside weights and a note; without a record of just these weights the record is empty."""
    path = file.path.with_suffix(".json")
    if file.size is None:
        return {}, ""
    if not path.is_file():
        return {}, f"{file.path.name} has no record ({path.name}): how it was trained is not known"
    try:
        content = parse_json(read_document(path, _LARGEST_RECORD))
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error.reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("training", {}), dict):
        return {}, f"{path.name} is no record of weights"
    if content.get("weights_sha256") != file.sha256:
        return (
            {},
            f"{path.name} is the record of other weights than {file.path.name}; copy both files together",
        )
    return content, ""


def _training(made: Mapping[str, Any]) -> Training:
    environment = made.get("environment") or {}
    fold = made.get("fold")
    epoch = made.get("epoch")
    return Training(
        data=str((made.get("manifest") or {}).get("name") or ""),
        cases=len(made.get("cases") or ()),
        validation_cases=len(made.get("validation_cases") or ()),
        held_out="" if fold is None else str(fold),
        epoch=epoch if isinstance(epoch, int) else None,
        settings=training_settings(made.get("configuration") or {}),
        commit=str(environment.get("commit") or ""),
        segpipe=str(made.get("segpipe") or environment.get("segpipe") or ""),
    )


def _metadata_scores(metadata: Mapping[str, Any]) -> tuple[Scores, ...]:
    figures = _figures(metadata.get("eval_metrics"))
    if not figures:
        return ()
    details = metadata.get("evaluation")
    details = details if isinstance(details, Mapping) else {}
    manifest = details.get("manifest")
    parts = [
        str(details.get("part") or "cases that the metadata do not name"),
        f"of {manifest['name']}" if isinstance(manifest, Mapping) and "name" in manifest else "",
        f"({details['cases']} cases)" if details.get("cases") else "",
    ]
    about = f"; {details['about']}" if details.get("about") else ""
    return (Scores(" ".join(filter(None, parts)) + about, figures),)


def _evaluation(folder: Path, path: Path) -> list[Scores]:
    """Return the means in an evaluation's summary.json below a run; empty for another file of this name."""
    try:
        content = parse_json(read_document(path))
    except DocumentError:
        return []
    if not isinstance(content, Mapping):
        return []
    means = content.get("all_classes", content.get("overall"))
    if not isinstance(means, Mapping):
        return []
    values = {
        name: value.get("mean", value.get("value")) if isinstance(value, Mapping) else value
        for name, value in means.items()
    }
    about = content.get("about")
    part = about.get("part") if isinstance(about, Mapping) else ""
    where = path.parent.relative_to(folder).as_posix()
    return [Scores(f"{where}{f' ({part})' if part else ''}", _figures(values))]


def _figures(values: Any) -> dict[str, float]:
    """Return the numbers among the values of a mapping."""
    if not isinstance(values, Mapping):
        return {}
    return {
        str(name): value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def network_input(root: Path, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of the network's first input.

    Args:
        root: the bundle's folder.
        metadata: of the bundle.

    Raises:
        SegpipeError: they do not name the channels and the shape.
    """
    try:
        given: dict[str, Any] = next(iter(metadata["network_data_format"]["inputs"].values()))
        if not isinstance(given["num_channels"], int) or not isinstance(given["spatial_shape"], list):
            raise TypeError("num_channels must be a number, spatial_shape a list")
    except (KeyError, StopIteration, AttributeError, TypeError) as error:
        raise SegpipeError(
            f"{root}: metadata.json does not say which image the network takes ({type(error).__name__}: {error}); "
            "write num_channels and spatial_shape to network_data_format: inputs: image"
        ) from error
    return given


def _channels(given: Mapping[str, Any]) -> tuple[str, ...]:
    named = given.get("channel_def")
    count = given["num_channels"]
    names = named if isinstance(named, Mapping) else {}
    return tuple(str(names.get(str(index), f"channel {index}")) for index in range(min(count, 1000)))


def _rows(root: Path, metadata: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """Return name and stored value of each class."""
    table = metadata.get("label_table")
    try:
        if table is not None:
            is_map = task_in(metadata, root) == "segmentation"
            return [(str(row["name"]), int(row["value"]) if is_map else None) for row in table]
        (output,) = metadata["network_data_format"]["outputs"].values()
        names = {int(index): str(name) for index, name in output["channel_def"].items()}
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise SegpipeError(
            f"{root}: metadata.json does not say which classes the network scores ({type(error).__name__}: {error}); "
            "write them to network_data_format: outputs: pred: channel_def"
        ) from error
    return [(names[index], None) for index in sorted(names)]


def _target(root: Path, metadata: Mapping[str, Any]) -> str:
    return (
        str(metadata.get("target", "class")) if task_in(metadata, root) == "classification" else "label map"
    )


def _region_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    regions = metadata.get("regions")
    rows = regions if isinstance(regions, list) else []
    return tuple(str(row["name"]) for row in rows if isinstance(row, Mapping) and "name" in row)
