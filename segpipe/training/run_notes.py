"""TensorBoard's pages about a run: its configuration as text, and its hyper-parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from segpipe.training.loss_terms import has_terms
from segpipe.training.run_folder import RunFolder
from segpipe.training.tensorboard import SEGMENTATION, Charts, add_hyper_parameters, add_layout

_LONGEST_TEXT = 64  # characters of a hyper-parameter; a longer text is a path or logic
_BOOKKEEPING = frozenset(  # ids that say how a run is kept and checked, and change no result
    ("manifest", "checksums", "cache", "reference_ranges", "val_interval")
)
_WEIGHTS = ("class_weights", "class_weight", "weight")  # attributes of losses: segpipe's, MONAI's, torch's


def log_notes(
    writer: SummaryWriter, run_folder: RunFolder, loss: Any, epoch: int, charts: Charts = SEGMENTATION
) -> None:
    """Log the run's configuration and environment before the first epoch; after a resume, log what has changed.

    Tags at step 0: `run/classes`, `run/configuration`, `run/environment` (with the commit), the hyper-parameters and
    the layout of the page Custom Scalars. Tag at the epoch of a resume: `run/resumed`.

    Args:
        writer: TensorBoard writer of the run.
        run_folder: started folder of the run.
        loss: loss of the trainer; its class weights are logged.
        epoch: the epoch that begins.
        charts: charts of the task.
    """
    configuration, environment = run_folder.configuration, run_folder.environment
    if epoch > 1:
        text = _changes(run_folder.recorded_at_start(), (configuration, environment))
        writer.add_text("run/resumed", text, epoch)
        writer.flush()
        return
    if run_folder.class_voxels:
        writer.add_text("run/classes", _classes(run_folder.class_voxels, loss, charts), 0)
    writer.add_text("run/configuration", _indented(yaml.safe_dump(configuration, sort_keys=False)), 0)
    writer.add_text("run/environment", _table(("", ""), sorted(_flat(environment).items())), 0)
    add_hyper_parameters(writer, hyper_parameters(run_folder.provenance["configuration"]), charts.metrics)
    add_layout(writer, charts, terms=has_terms(loss))
    writer.flush()


def hyper_parameters(configuration: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the numbers, words and lists of numbers at the top level of a configuration, by id, without bookkeeping.

    Args:
        configuration: without ids that only change where and how it runs, as in the run's provenance.
    """
    parameters: dict[str, float | str] = {}
    for name, value in configuration.items():
        if name in _BOOKKEEPING:
            continue
        if isinstance(value, bool):
            parameters[name] = str(value).lower()
        elif isinstance(value, int | float) or (isinstance(value, str) and _is_word(value)):
            parameters[name] = value.removeprefix("$") if isinstance(value, str) else value
        elif isinstance(value, list) and _of_numbers(value):
            parameters[name] = json.dumps(value)[:_LONGEST_TEXT]
    return parameters


def class_weights(loss: Any, num_classes: int) -> list[float] | None:
    """Return the weights of C classes in a loss; None if it has none."""
    if not isinstance(loss, torch.nn.Module):
        return None
    for path, weights in loss.named_buffers():
        if path.rpartition(".")[2] in _WEIGHTS and weights.shape == (num_classes,):
            return [float(weight) for weight in weights]
    return None


def finding_weights(loss: Any, num_findings: int) -> list[tuple[float, float]] | None:
    """Return for each of F findings the weights of images with and without it in a loss; None if it has none."""
    if not isinstance(loss, torch.nn.Module):
        return None
    for path, weights in loss.named_buffers():
        if path.rpartition(".")[2] == "weights" and weights.shape == (num_findings, 2):
            return [(float(positive), float(negative)) for positive, negative in weights]
    return None


def _weight_texts(loss: Any, number: int) -> list[str] | None:
    of_classes, of_findings = class_weights(loss, number), finding_weights(loss, number)
    if of_classes is not None:
        return [f"{weight:.4g}" for weight in of_classes]
    if of_findings is not None:
        return [f"{positive:.4g} with, {negative:.4g} without" for positive, negative in of_findings]
    return None


def _classes(voxels: Mapping[str, int], loss: Any, charts: Charts) -> str:
    weights = _weight_texts(loss, len(voxels))
    total = max(sum(voxels.values()), 1)
    rows = [
        (
            name,
            f"{count:,}",
            f"{100 * count / total:.3g} %",
            "1" if weights is None else weights[index],
        )
        for index, (name, count) in enumerate(voxels.items())
    ]
    weighting = "The loss weighs all classes alike.\n\n" if weights is None else ""
    return weighting + _table(
        ("class", f"{charts.counted} of the training cases", charts.share, "weight in the loss"), rows
    )


def _changes(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    before, after = (
        {key: value for part in state for key, value in _flat(part).items()} for state in (then, now)
    )
    rows = [
        (key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    if not rows:
        return "Resumed with the same configuration, in the same environment."
    return "Resumed. Changes since the start of the run:\n\n" + _table(("", "then", "now"), rows)


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings, by path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves.update(
            _flat(value, f"{above}{key} ") if isinstance(value, Mapping) else {f"{above}{key}": value}
        )
    return leaves


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    for sign in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(sign, f"\\{sign}")
    return text


def _indented(text: str) -> str:
    """Return a text as a Markdown block that is shown unchanged."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _is_word(text: str) -> bool:
    return "@" not in text and len(text) <= _LONGEST_TEXT


def _of_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_of_numbers(item) for item in value)
    return isinstance(value, int | float)
