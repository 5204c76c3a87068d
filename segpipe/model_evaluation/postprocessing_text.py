"""Steps of label maps as lines in a bundle's YAML files; every other line stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from segpipe.documents import DocumentError, compose_yaml, json_of, read_document
from segpipe.errors import SegpipeError
from segpipe.files import write_text
from segpipe.labels import LabelTable
from segpipe.model_evaluation.label_map_trials import HOLES, LARGEST, ORDER, SMALL, Choice, Trial

BEGIN, END = "# written by segpipe postprocess: begin", "# written by segpipe postprocess: end"
INFERENCE, EVALUATE = "inference.yaml", "evaluate.yaml"
_IDS = {INFERENCE: "postprocessing", EVALUATE: "validate#postprocessing"}
_TARGETS = {
    HOLES: "monai.transforms.FillHolesd",
    SMALL: "segpipe.transforms.RemoveSmallPiecesd",
    LARGEST: "monai.transforms.KeepLargestConnectedComponentd",
}
_CLASSES = ("AsDiscreted", "RegionsToClassesd")
_WIDTH = 110


class PostprocessingTexts:
    """The two files of a bundle that hold its postprocessing.

    Args:
        root: the bundle's folder.

    Attributes:
        written_before: whether the files hold steps that segpipe wrote.

    Raises:
        SegpipeError: a file is missing, is no YAML, or its postprocessing has no place for steps of label maps.
    """

    def __init__(self, root: Path) -> None:
        self._paths = {name: root / "configs" / name for name in (INFERENCE, EVALUATE)}
        texts = {name: _read(path) for name, path in self._paths.items()}
        self.written_before = any(BEGIN in text for text in texts.values())
        self._bare = {name: _without_steps(self._paths[name], text) for name, text in texts.items()}
        for name in texts:
            self._place(name)

    @property
    def bare_inference(self) -> str:
        """The text of inference.yaml without the steps that segpipe wrote."""
        return self._bare[INFERENCE]

    def with_steps(self, choice: Choice, table: LabelTable, about: str) -> dict[Path, str]:
        """Return the new text of each file.

        Args:
            choice: the steps that are kept; without any, the texts have no steps.
            table: the classes.
            about: words on the cases that the steps were chosen on.
        """
        return {
            path: self._with_steps(name, _steps(choice, table, about)) for name, path in self._paths.items()
        }

    def _with_steps(self, name: str, steps: Sequence[str]) -> str:
        text = self._bare[name]
        if not steps:
            return text
        line, indent, one_hot = self._place(name)
        if one_hot:
            steps = [*_discreted("argmax: true"), *steps, *_discreted('to_onehot: "$@labels.num_classes"')]
        block = [BEGIN, *steps, END]
        lines = text.splitlines(keepends=True)
        if line and not lines[line - 1].endswith("\n"):
            lines[line - 1] += "\n"
        ending = "\r\n" if "\r\n" in text else "\n"
        return "".join([*lines[:line], *(f"{' ' * indent}{new}{ending}" for new in block), *lines[line:]])

    def _place(self, name: str) -> tuple[int, int, bool]:
        """Return the line before which steps go, their indent, and whether the map is one-hot there."""
        path, identifier = self._paths[name], _IDS[name]
        sequence = _transforms(path, self._bare[name], identifier)
        targets = [_target(item) for item in sequence.value]
        if name == INFERENCE:
            wanted = "SaveLabelMapd"
            if not targets or targets[-1] != wanted or not set(targets) & set(_CLASSES):
                raise _no_place(path, identifier, f"end with {wanted}, after {' or '.join(_CLASSES)}")
            line = sequence.value[-1].start_mark.line
            lines = self._bare[name].splitlines()
            while lines[line - 1].lstrip().startswith("#"):  # a comment on the step that follows
                line -= 1
            return line, sequence.start_mark.column, False
        if not targets or targets[-1] not in _CLASSES:
            raise _no_place(path, identifier, f"end with {' or '.join(_CLASSES)}")
        keys = {key.value for key, _ in sequence.value[-1].value}
        return _last_line(sequence) + 1, sequence.start_mark.column, "to_onehot" in keys


def write_texts(texts: dict[Path, str]) -> list[Path]:
    """Write the texts that differ from the files, and return the files written.

    The JSON beside a YAML file, from which other programs read the same configuration, is written with it.
    """
    changed = [path for path, text in texts.items() if _read(path) != text]
    for path in changed:
        write_text(path, texts[path])
    twins = {path.with_suffix(".json"): json_of(texts[path]) for path in changed}
    there = [path for path in twins if path.is_file()]
    for path in there:
        write_text(path, twins[path])
    return [*changed, *there]


def _steps(choice: Choice, table: LabelTable, about: str) -> list[str]:
    """Return the lines of the steps; steps of one kind are one transform."""
    lines: list[str] = []
    for kind in ORDER:
        trials = sorted(
            (trial for trial in choice.kept if trial.step.kind == kind), key=lambda trial: trial.step.index
        )
        if trials:
            lines += [f"# {_gain(trial, table, choice.unit)}" for trial in trials]
            lines += [f"- _target_: {_TARGETS[kind]}", "  keys: pred"]
            lines.append(f"  applied_labels: [{', '.join(str(trial.step.index) for trial in trials)}]")
            if kind == SMALL:
                volumes = ", ".join(repr(float(trial.step.min_volume or 0)) for trial in trials)
                lines.append(f"  min_volumes: [{volumes}]   # {choice.unit}, of each of these classes")
    return [f"# chosen on {about}", *lines] if lines else []


def _gain(trial: Trial, table: LabelTable, unit: str) -> str:
    interval = trial.difference.interval
    name = " ".join(table.names[trial.step.index].split())
    return (
        f"{trial.step.in_words(unit)}, {name}: Dice {interval.mean:+.3f} ({100 * trial.confidence:.4g} % interval "
        f"{interval.low:+.3f} to {interval.high:+.3f})"
    )


def _discreted(argument: str) -> list[str]:
    return ["- _target_: monai.transforms.AsDiscreted", "  keys: pred", f"  {argument}"]


def _read(path: Path) -> str:
    if not path.exists():
        raise SegpipeError(
            f"{path}: no such file; segpipe postprocess writes into {INFERENCE} and {EVALUATE} of a bundle that "
            "segpipe planned or ships"
        )
    try:
        return read_document(path)
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error}") from error


def _without_steps(path: Path, text: str) -> str:
    """Return a text without the lines that segpipe wrote."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside != (mark == END):
                break
            inside = not inside
        elif not inside:
            kept.append(line)
    else:
        if not inside:
            return "".join(kept)
    raise SegpipeError(
        f"{path}: the comments {BEGIN!r} and {END!r} must come in pairs; restore the missing one, or remove the steps "
        "and both comments"
    )


def _transforms(path: Path, text: str, identifier: str) -> yaml.SequenceNode:
    """Return the list of transforms of a Compose."""
    try:
        node: Any = compose_yaml(text)
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error}") from error
    for key in (identifier, "transforms"):
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in entries if name.value == key), None)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        raise _no_place(path, identifier, "have transforms as a list with a step a line")
    return node


def _target(item: yaml.Node) -> str:
    """Return the class name of a step, without its modules."""
    entries = item.value if isinstance(item, yaml.MappingNode) else []
    target = next((str(value.value) for key, value in entries if key.value == "_target_"), "")
    return target.rpartition(".")[2]


def _last_line(node: yaml.Node) -> int:
    """Return the line of a node's last scalar; a block's own end mark lies behind comments that follow."""
    if not isinstance(node, yaml.CollectionNode) or not node.value or node.flow_style:
        line: int = node.end_mark.line
        return line
    last = node.value[-1]
    return _last_line(last[1] if isinstance(last, tuple) else last)


def _no_place(path: Path, identifier: str, rule: str) -> SegpipeError:
    return SegpipeError(
        f"{path}: its {identifier} must {rule}; segpipe postprocess knows no place for steps of the label map: use a "
        "bundle that segpipe planned or ships"
    )
