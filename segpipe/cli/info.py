"""`segpipe info`: what a bundle, a weights file or a run is, and the layers of a bundle's network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli.bundle_options import (
    InferenceConfig,
    Override,
    Trust,
    Weights,
    bundle_names,
    bundle_source,
)
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import print_table, say
from segpipe.errors import SegpipeError, shown
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.bundle.layers import Layers
    from segpipe.information import Information, Settings, Training, WeightsFile

_HASH_SHOWN = 12
_MOST_SCORES = 24


def info(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE|WEIGHTS|RUN",
            help="Folder or name of a bundle, a weights file, or folder of a run.",
            autocompletion=bundle_names,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="List the layers of a bundle with output shapes and numbers of parameters."
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Input size for --layers, such as 224,224; default: the metadata's."
        ),
    ] = None,
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    trust: Trust = False,
) -> None:
    """Show task, classes, input, training and scores of a bundle, weights file or run; nothing of it is run.

    Only --layers makes the network of a bundle and runs zeros through it.
    """
    from segpipe.information import information_of

    sizes = size_of(size)
    about = information_of(what, weights or (), config or (), parse_overrides(override or (), "--set "))
    table = None
    if layers:
        if about.kind != "bundle":
            raise SegpipeError(f"{about.path}: --layers needs a bundle; give the bundle of these weights")
        with collecting_nothing():
            from segpipe.bundle.layers import bundle_layers

        table = bundle_layers(bundle_source(about.path, weights, config, override, None, trust), sizes)
    if as_json:
        typer.echo(json.dumps(_plain(about, table), indent=2))
        return
    _print_information(about)
    if table is not None:
        _print_layers(table)


def _plain(about: Information, table: Layers | None) -> dict[str, Any]:
    from dataclasses import asdict

    return about.as_plain() | ({} if table is None else {"layers": asdict(table)})


def _print_information(about: Information) -> None:
    channels = (
        f"{len(about.channels)} channel{'s' if len(about.channels) > 1 else ''}" if about.channels else ""
    )
    shape = " x ".join(map(str, about.shape))
    values = dict(zip(about.classes, about.values, strict=False))
    stored = {name: value for index, (name, value) in enumerate(values.items()) if index != value}
    rows = [
        ("folder" if about.kind != "weights" else "file", str(about.path)),
        ("about", about.description),
        ("task", f"{about.task} ({about.target})" if about.classes else ""),
        ("classes", ", ".join(about.classes)),
        ("stored as", ", ".join(f"{name} {value}" for name, value in stored.items())),
        ("regions", ", ".join(about.regions)),
        ("takes", ", ".join(part for part in (about.modality, channels, shape) if part)),
        ("channels", "; ".join(about.channels)),
        *_setting_rows(about.settings),
        ("data", about.data),
        ("licence", f"{about.licence} (of the data, and so of the weights)" if about.licence else ""),
        *(("weights", _weights_text(file)) for file in about.weights),
        *_training_rows(about.training),
        *(("scores", f"{_scores_text(scores.values)} ({scores.of})") for scores in about.scores),
        *(("note", note) for note in about.notes),
    ]
    say(
        f"{about.name} {about.version}".strip(),
        *(f"{f'{name}:':<10}{text}" for name, text in rows if text),
    )


def _setting_rows(settings: Settings) -> list[tuple[str, str]]:
    window = settings.intensity_window
    return [
        ("spacing", f"{_product(settings.spacing_mm)} mm" if settings.spacing_mm else ""),
        ("window", f"{window[0]:g} to {window[1]:g}" if window else ""),
        ("sliding", f"window of {_product(settings.window_size)}" if settings.window_size else ""),
        ("prepared", ", ".join(settings.steps)),
    ]


def _training_rows(training: Training | None) -> list[tuple[str, str]]:
    if training is None:
        return []
    held_out = {"": "", "all": "none held out"}.get(training.held_out, f"{training.held_out} held out")
    words = [
        (f"{training.cases} cases of {training.data}" if training.cases else f"on {training.data}")
        if training.data
        else "",
        f"{training.validation_cases} for validation" if training.validation_cases else "",
        held_out if training.cases else "",
        f"epoch {training.epoch}" if training.epoch is not None else "",
        f"segpipe {training.segpipe}" if training.segpipe else "",
        f"commit {training.commit}" if training.commit else "",
    ]
    settings = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in training.settings.items()]
    return [("trained", ", ".join(filter(None, words))), ("with", ", ".join(settings))]


def _weights_text(file: WeightsFile) -> str:
    if file.size is None:
        return f"{file.path} (missing)"
    return f"{file.path} ({file.size / 1e6:.1f} MB, SHA-256 {file.sha256[:_HASH_SHOWN]})"


def _scores_text(values: Any) -> str:
    return shown([f"{name} {value:.4g}" for name, value in values.items()], most=_MOST_SCORES)


def _product(numbers: Any) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def _value(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_layers(table: Layers) -> None:
    from rich.table import Column

    print_table(
        [
            Column("layer", overflow="fold"),
            Column("kind", overflow="fold"),
            Column("output", overflow="fold"),
            Column("parameters", justify="right"),
            Column("trained", justify="right"),
        ],
        [
            (
                layer.name or "(network)",
                layer.kind,
                [" x ".join(map(str, shape)) for shape in layer.outputs] or "not called",
                f"{layer.parameters:,}",
                f"{layer.trained:,}",
            )
            for layer in table.layers
        ],
    )
    say(
        f"input {' x '.join(map(str, table.input))}: {table.parameters:,} parameters, of which {table.trained:,} are "
        "trained"
    )


def size_of(text: str | None) -> tuple[int, ...] | None:
    """Return the whole numbers of --size; None without it.

    Raises:
        SegpipeError: a part is no whole number above 0.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() and int(part) > 0 for part in parts):
        raise SegpipeError(f"--size is {text!r:.80}; must be whole numbers above 0, such as 224,224")
    return tuple(int(part) for part in parts)
