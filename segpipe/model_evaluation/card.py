"""Results of an evaluation, written into the bundle's README and metadata.json."""

from __future__ import annotations

import json
import math
import re
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.bundle.source import BundleSource
from segpipe.dataset import shipped_manifests
from segpipe.errors import SegpipeError, counted
from segpipe.evaluation.case_scores import MEAN_OF_CLASSES
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.evaluation.summary import CONFIDENCE, Figure, Summary
from segpipe.files import write_text
from segpipe.model_evaluation.description import EvaluatedBy, training_in_words, weights_plain
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.report.metrics import METRIC_OF, Metric

BEGIN, END = "<!-- written by segpipe evaluate --card: begin -->", "<!-- segpipe evaluate --card: end -->"
_METRICS = ("dice", "surface_dice", "hd95_mm", "volume_error_percent", "lesion_f1")
_WIDTH = 130
_SPACE = re.compile(r"\s*")


def card_command(by: EvaluatedBy, manifest: str, source: BundleSource, options: EvaluateOptions) -> str:
    """Return the command that repeats the evaluation in the bundle's folder; files elsewhere become placeholders."""
    name = manifest if manifest in shipped_manifests() else Path(manifest).name
    words = ["segpipe", "evaluate", "--bundle", ".", "--manifest", name, "--dataset-dir", "DATASET_DIR"]
    words += ["--split", options.split]
    words += ["--part", options.part] if options.part else []
    for group, members in options.groups.items():
        words += ["--group", f"{group}={','.join(members)}"]
    for path in source.weights:
        words += ["--weights", _below(Path(path), by.opened.root)]
    for path in source.configs:
        words += ["--config", _below(Path(path), by.opened.root / "configs")]
    for key, value in (source.overrides or {}).items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--device", str(source.device)] if source.device else []
    words += ["--precision", *by.precisions[:1]]
    words += [] if options.checksums else ["--no-checksums"]
    words += [] if options.tolerance_mm == 1 else ["--tolerance-mm", f"{options.tolerance_mm:g}"]
    return shlex.join([*words, "--output", "OUTPUT", "--card"])


def write_card(by: EvaluatedBy, scores: ScoredCases, summary: Summary, command: str) -> list[Path]:
    """Write results into `docs/README.md` and `configs/metadata.json` of a bundle, and replace earlier results.

    The README has the results between two comments; a README without these comments gets a new section. In the
    metadata, `eval_metrics` holds the means as in MONAI's model zoo, and `evaluation` their cases and model; no other
    byte of the file changes.

    Args:
        by: description of the evaluation.
        scores: scores of the cases.
        summary: summary of the same cases.
        command: see `card_command`.

    Returns:
        The two files.

    Raises:
        SegpipeError: a file cannot be read, or the README has only one of the two comments.
    """
    entries = {"eval_metrics": _eval_metrics(summary), "evaluation": _details(by, scores, summary, command)}
    return write_results(by.opened.root, _section(by, scores, summary, command), entries)


def write_results(root: Path, section: str, entries: Mapping[str, Any]) -> list[Path]:
    """Write a section into `docs/README.md` and entries into `configs/metadata.json`; see `write_card`.

    Args:
        root: the bundle's folder.
        section: text between the two comments.
        entries: key of the metadata -> plain value.

    Returns:
        The two files.

    Raises:
        SegpipeError: see `write_card`.
    """
    readme, metadata = root / "docs" / "README.md", root / "configs" / "metadata.json"
    text = _replaced(readme, section)
    described = with_entries(_read(metadata), entries)
    write_text(readme, text)
    write_text(metadata, described)
    return [readme, metadata]


def earlier_section(root: Path) -> str:
    """Return the section that an earlier evaluation wrote into a bundle's README; empty without one.

    Raises:
        SegpipeError: the README cannot be read.
    """
    readme = root / "docs" / "README.md"
    text = _read(readme) if readme.is_file() else ""
    return text.split(BEGIN)[1].split(END)[0] if BEGIN in text and END in text else ""


def with_entries(text: str, entries: Mapping[str, Any]) -> str:
    """Return the text of a JSON object with some keys set, and every other byte unchanged.

    Args:
        text: valid JSON text of the object.
        entries: key -> plain value.
    """
    for key, value in entries.items():
        value_text = json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        place = _value_span(text, key)
        if place is None:
            end = text.rindex("}")
            before = text[:end].rstrip()
            comma = "" if before.endswith("{") else ","
            text = f"{before}{comma}\n  {json.dumps(key)}: {value_text}\n{text[end:]}"
        else:
            text = text[: place[0]] + value_text + text[place[1] :]
    return text


def _value_span(text: str, wanted: str) -> tuple[int, int] | None:
    """Return start and end of the value of a key of the outermost object; None without this key."""
    decoder = json.JSONDecoder()
    at = _after_space(text, text.index("{") + 1)
    while text[at] == '"':
        key, at = decoder.raw_decode(text, at)
        start = _after_space(text, text.index(":", at) + 1)
        _, end = decoder.raw_decode(text, start)
        if key == wanted:
            return start, end
        at = _after_space(text, end)
        if text[at] != ",":
            return None
        at = _after_space(text, at + 1)
    return None


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _replaced(readme: Path, section: str) -> str:
    """Return the README with the section in place of the old section, or at its end."""
    text = _read(readme) if readme.is_file() else ""
    block = f"{BEGIN}\n{section}\n{END}"
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN) > 1:
        raise SegpipeError(
            f"{readme}: has not one of each of the comments {BEGIN} and {END}; restore the missing one, or "
            "remove both"
        )
    if BEGIN not in text:
        return f"{text.rstrip()}\n\n{block}\n".lstrip()
    before, rest = text.split(BEGIN)
    return f"{before}{block}{rest.split(END)[1]}"


def _section(by: EvaluatedBy, scores: ScoredCases, summary: Summary, command: str) -> str:
    metrics = [METRIC_OF[key] for key in _METRICS]
    rows = [*summary.by_class.items()]
    rows += [(MEAN_OF_CLASSES, summary.all_classes)] if len(rows) > 1 else []
    table = [
        f"| class | {' | '.join(metric.title for metric in metrics)} | cases |",
        f"|---|{'---|' * len(metrics)}---|",
        *(
            f"| {name} | {' | '.join(_cell(figures, metric) for metric in metrics)} | "
            f"{figures['dice'].interval.cases} |"
            for name, figures in rows
        ),
    ]
    return "\n".join(
        [
            "## Evaluation",
            "",
            *(f"{filled(paragraph)}\n" for paragraph in _paragraphs(by, scores)),
            *table,
            "",
            f"```bash\n{command}\n```",
        ]
    )


def _paragraphs(by: EvaluatedBy, scores: ScoredCases) -> list[str]:
    """Return the paragraphs that describe the cases and the weights of the table."""
    drawn = (
        "patients are drawn with all their cases"
        if scores.knows_patients
        else "cases are drawn as if each were of another patient, which is not known"
    )
    patients = len({row.patient for row in scores.rows})
    whose = f" of {counted(patients, 'patient')}" if scores.knows_patients else ""
    lines = [
        f"{by.part_in_words[0].upper()}{by.part_in_words[1:]}: {counted(len(scores.rows), 'case')}{whose}. "
        f"Means and, in brackets, their {CONFIDENCE * 100:g} % intervals (bootstrap; {drawn}). Surfaces agree within "
        f"{scores.tolerance_mm:g} mm; a structure that was missed has no finite distance and is in no mean distance."
    ]
    if scores.without_prediction:
        left_out = f"{len(scores.without_prediction)} of {len(by.part.cases)} cases"
        lines.append(f"Not in these figures: {left_out}, which could not be scored; summary.json says why.")
    return [*lines, *weights_in_words(by), *by.warnings, made_in_words(by)]


def weights_in_words(by: EvaluatedBy) -> list[str]:
    """Return a sentence on each weights file: its hash, its training, and whether the bundle ships the file."""
    lines = []
    for weights in weights_plain(by):
        others = "" if shipped(by, weights) else "; **not the weights in `models/`**"
        hashed = f"Weights `{weights['file']}`, SHA-256 {weights['sha256'][:16]}..."
        lines.append(f"{hashed}, trained on {training_in_words(weights)}{others}.")
    return lines


def made_in_words(by: EvaluatedBy) -> str:
    """Return version, commit and day of the evaluation."""
    return f"segpipe {by.program['segpipe']}, commit {by.program['commit']}, {by.program['made'][:10]}."


def filled(paragraph: str) -> str:
    """Return a paragraph in lines."""
    return textwrap.fill(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)


def shipped(by: EvaluatedBy, weights: Mapping[str, Any]) -> bool:
    """Return whether the bundle ships this weights file."""
    folder = (by.opened.root / "models").resolve()
    return any(
        record.weights.name == weights["file"] and record.weights.resolve().parent == folder
        for record in by.records
    )


def _cell(figures: Mapping[str, Figure], metric: Metric) -> str:
    figure = figures[metric.key]
    interval = figure.interval
    if not interval.cases:
        return "-"
    text = metric.text(interval.mean) + (f" ({metric.span(interval)})" if interval.is_known else "")
    fewer = figure.cases_in_words(figures["dice"].interval.cases)
    return text + (f", {fewer}" if fewer else "")


def _eval_metrics(summary: Summary) -> dict[str, float]:
    """Return name -> mean, as in MONAI's model zoo."""
    rows = {"mean": summary.all_classes, **summary.by_class}
    return {
        f"{name}_{metric}": round(figures[metric].interval.mean, 4)
        for name, figures in rows.items()
        for metric in _METRICS
        if math.isfinite(figures[metric].interval.mean)
    }


def _details(by: EvaluatedBy, scores: ScoredCases, summary: Summary, command: str) -> dict[str, Any]:
    rows = {MEAN_OF_CLASSES: summary.all_classes, **summary.by_class}
    return {
        "manifest": {"name": by.manifest.name, "sha256": by.manifest.sha256},
        "part": by.part.name,
        "cases": len(scores.rows),
        "cases_left_out": len(scores.without_prediction),
        "patients": len({row.patient for row in scores.rows}) if scores.knows_patients else None,
        "confidence": CONFIDENCE,
        "tolerance_mm": scores.tolerance_mm,
        "intervals": {
            name: {
                metric: _interval(figures[metric]) for metric in _METRICS if figures[metric].interval.cases
            }
            for name, figures in rows.items()
        },
        "weights": [{**weights, "in_models": shipped(by, weights)} for weights in weights_plain(by)],
        "precision": list(by.precisions),
        "warnings": list(by.warnings),
        "segpipe": by.program["segpipe"],
        "commit": by.program["commit"],
        "date": by.program["made"][:10],
        "command": command,
    }


def _interval(figure: Figure) -> dict[str, float | int]:
    interval = figure.interval
    ends = {"low": round(interval.low, 4), "high": round(interval.high, 4)} if interval.is_known else {}
    return {"mean": round(interval.mean, 4), **ends, "cases": interval.cases, "infinite": interval.infinite}


def _below(path: Path, folder: Path) -> str:
    """Return a path relative to a folder; only its name where it lies elsewhere."""
    absolute = path.resolve()
    return (
        absolute.relative_to(folder.resolve()).as_posix()
        if absolute.is_relative_to(folder.resolve())
        else path.name
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SegpipeError(f"{path}: cannot be read: {error}; restore it") from error
