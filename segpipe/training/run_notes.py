"""What is run, as TensorBoard's pages of text and hyper-parameters show it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from segpipe.training.loss_terms import has_terms
from segpipe.training.run_folder import RunFolder
from segpipe.training.tensorboard import add_hyper_parameters, add_layout

_LONGEST_TEXT = 64  # characters of a hyper-parameter; longer ones are paths or logic
_WEIGHTS = ("class_weights", "class_weight", "weight")  # what losses of ours, MONAI and torch call them


def log_notes(writer: SummaryWriter, run_folder: RunFolder, loss: Any, epoch: int) -> None:
    """Log what is run before the first epoch, and before the first one after a resume what is another since.

    Tags: `run/classes`, `run/configuration`, `run/environment` (with the commit) at step 0, with the hyper-parameters
    and the layout of the page Custom Scalars; `run/resumed` at the epoch that a resumed run goes on with.

    Args:
        writer: of the run.
        run_folder: which was started.
        loss: of the trainer; the class weights are taken from it.
        epoch: that begins.
    """
    configuration, environment = run_folder.configuration, run_folder.environment
    if epoch > 1:
        text = _changes(run_folder.recorded_at_start(), (configuration, environment))
        writer.add_text("run/resumed", text, epoch)
        writer.flush()
        return
    if run_folder.class_voxels:
        writer.add_text("run/classes", _classes(run_folder.class_voxels, loss), 0)
    writer.add_text("run/configuration", _indented(yaml.safe_dump(configuration, sort_keys=False)), 0)
    writer.add_text("run/environment", _table(("", ""), sorted(_flat(environment).items())), 0)
    add_hyper_parameters(writer, hyper_parameters(run_folder.provenance["configuration"]))
    add_layout(writer, terms=has_terms(loss))
    writer.flush()


def hyper_parameters(configuration: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the numbers, words and lists of numbers at the top of a configuration, by their ids.

    Args:
        configuration: without what says only where and how it runs, as a run's provenance has it.
    """
    found: dict[str, float | str] = {}
    for name, value in configuration.items():
        if isinstance(value, bool):
            found[name] = str(value).lower()
        elif isinstance(value, int | float) or (isinstance(value, str) and _is_word(value)):
            found[name] = value.removeprefix("$") if isinstance(value, str) else value
        elif isinstance(value, list) and _of_numbers(value):
            found[name] = json.dumps(value)[:_LONGEST_TEXT]
    return found


def class_weights(loss: Any, num_classes: int) -> list[float] | None:
    """Return the weights of C classes that a loss keeps; None if it keeps none."""
    if not isinstance(loss, torch.nn.Module):
        return None
    for path, weights in loss.named_buffers():
        if path.rpartition(".")[2] in _WEIGHTS and weights.shape == (num_classes,):
            return [float(weight) for weight in weights]
    return None


def _classes(voxels: Mapping[str, int], loss: Any) -> str:
    weights = class_weights(loss, len(voxels))
    total = sum(voxels.values())
    rows = [
        (
            name,
            f"{count:,}",
            f"{100 * count / total:.3g} %",
            "1" if weights is None else f"{weights[index]:.4g}",
        )
        for index, (name, count) in enumerate(voxels.items())
    ]
    said = "The loss weighs all classes alike.\n\n" if weights is None else ""
    return said + _table(("class", "voxels of the training cases", "share", "weight in the loss"), rows)


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
    return "Resumed; since the start of the run changed:\n\n" + _table(("", "then", "now"), rows)


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves.update(
            _flat(value, f"{above}{key} ") if isinstance(value, Mapping) else {f"{above}{key}": value}
        )
    return leaves


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    for sign in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(sign, f"\\{sign}")
    return text


def _indented(text: str) -> str:
    """Return a text that Markdown leaves as it is."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _is_word(text: str) -> bool:
    return "@" not in text and len(text) <= _LONGEST_TEXT


def _of_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_of_numbers(item) for item in value)
    return isinstance(value, int | float)
