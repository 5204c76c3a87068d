"""The records that a program gives the running training in place of a manifest: `train#dataset#data`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.dataset import Manifest
from segpipe.dataset.given_records import given_manifest
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.monai_internals import parser_on_the_stack


def are_given(configuration: Mapping[str, Any]) -> bool:
    """Return whether a configuration has records to train on, in place of a reference to the manifest's cases."""
    return isinstance(_data(configuration, "train"), list)


def given_cases(labels: LabelTable) -> tuple[Manifest, Path] | None:
    """Return the records that the running configuration was given, see `given_manifest`; None if it has none.

    Raises:
        SegpipeError: see `given_manifest`.
    """
    parser = parser_on_the_stack()
    if parser is None or not are_given(parser.config):
        return None
    validation = _data(parser.config, "validate")
    return given_manifest(
        _data(parser.config, "train"),
        validation if isinstance(validation, list) else [],
        labels,
        _channels(parser.get(parser.meta_key, {})),
    )


def refuse_given_images() -> None:
    """Refuse records that the running training of a classifier was given.

    Raises:
        SegpipeError: MONAI Label, which gives such records, has label maps for labels.
    """
    parser = parser_on_the_stack()
    if parser is not None and are_given(parser.config):
        raise SegpipeError(
            "train#dataset#data: a classifier is not trained on given records, since MONAI Label has no classes of "
            "whole images; write a manifest of the images with `segpipe data create`, and train with `segpipe train`"
        )


def _data(configuration: Mapping[str, Any], part: str) -> Any:
    """Return `<part>#dataset#data` of a configuration; None where there is none."""
    value: Any = configuration
    for name in (part, "dataset", "data"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _channels(metadata: Mapping[str, Any]) -> list[str]:
    inputs = metadata.get("network_data_format", {}).get("inputs", {})
    first: Mapping[str, Any] = next(iter(inputs.values()), {})
    return [str(name) for name in first.get("channel_def", {}).values()] or ["image"]
