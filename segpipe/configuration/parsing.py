"""Reads configuration files by MONAI's rules: each file once, and within bounds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv
from monai.utils.misc import CheckKeyDuplicatesYamlLoader

from segpipe.configuration.finding import written
from segpipe.configuration.references import strings
from segpipe.documents import (
    BYTE_ORDER_MARK,
    LARGEST_CONFIGURATION,
    MOST_ITEMS,
    DocumentError,
    compose_yaml,
    parse_json,
    parse_yaml,
    read_document,
    refuse_many,
)
from segpipe.errors import SegpipeError


@dataclass(frozen=True)
class Merged:
    """The merged content of several configuration files.

    Attributes:
        values: merged; a later file overrides an earlier one; macros that copy from another file are replaced.
        reached: the other files that macros copy from.
    """

    values: dict[str, Any]
    reached: tuple[Path, ...]


def merged_files(files: Sequence[Path], located: Callable[[Path], Path] = Path) -> Merged:
    """Merge files as MONAI does: a later file overrides an earlier one. Each is read once and within bounds.

    Args:
        files: configuration files.
        located: maps the path in a macro to the file to read; default: the path itself.

    Raises:
        SegpipeError: a file cannot be read or holds no ids, or its macros copy without end.
    """
    parser = ConfigParser({})
    for file in files:
        for key, value in _ids_in(file).items():
            try:
                merge_kv(parser, key, value)
            except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
                raise SegpipeError(
                    f"{file}: {key!r} cannot be set: {error}; `segpipe check` says more"
                ) from error
    merged = without_file_macros(parser.get(), located)
    _refuse_doubling(merged.values)
    return merged


def without_file_macros(values: dict[str, Any], located: Callable[[Path], Path] = Path) -> Merged:
    """Replace macros that copy from another file, as MONAI does; each file is read once and within bounds.

    Args:
        values: content of a configuration.
        located: maps the path in a macro to the file to read.

    Raises:
        SegpipeError: the other file cannot be read or lacks the id, or the copied value is a macro itself.
    """
    contents: dict[str, dict[str, Any]] = {}

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item) for item in value]
        path, name = _file_macro(value)
        if not path:
            return value
        if "::" in path:  # MONAI takes the first part for an id, not for the path
            raise SegpipeError(f"{value}: the path of a file holds no # and no ::; correct the macro")
        if path not in contents:
            contents[path] = _ids_in(located(Path(path)))
        parser = ConfigParser(contents[path])
        if name and name not in parser:
            raise SegpipeError(f"{value}: there is no {written(name)} in {path}; correct the macro")
        copied = copy.deepcopy(parser[name])
        if any(_file_macro(text)[0] for _, text in strings(copied)):
            raise SegpipeError(
                f"{value}: what it copies from {path} is a macro itself; write the values there"
            )
        return copied

    return Merged(replaced(values), tuple(Path(path) for path in contents))


def _file_macro(value: Any) -> tuple[str, str]:
    """Return the file and the id that a macro copies from; two empty texts for any other value."""
    if not (isinstance(value, str) and value.startswith("%")):
        return "", ""
    path, name = ConfigParser.split_path_id(value[1:])
    return (path, name) if path else ("", "")


def _ids_in(file: Path) -> dict[str, Any]:
    try:
        content = parsed_configuration(file)[1]
    except DocumentError as error:
        raise SegpipeError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise SegpipeError(f"{file}: holds no ids: must be `id: value` lines")
    return content


def _refuse_doubling(merged: dict[str, Any]) -> None:
    """Refuse macros that copy macros again and again, until the configuration grows beyond its bound."""
    parser, sizes = ConfigParser(merged), {}
    sizes_open: set[str] = set()

    def size(value: Any) -> int:
        if isinstance(value, dict | list):
            return 1 + sum(size(item) for item in (value.values() if isinstance(value, dict) else value))
        path, name = (
            ConfigParser.split_path_id(value[1:]) if isinstance(value, str) and value[:1] == "%" else ("", "")
        )
        if path or not name or name not in parser or name in sizes_open:
            return 1
        if name not in sizes:
            sizes_open.add(name)
            sizes[name] = size(parser[name])
            sizes_open.discard(name)
        if sizes[name] > MOST_ITEMS:
            raise SegpipeError(
                f"%{written(name)}: copies more than {MOST_ITEMS} values in the end; write fewer"
            )
        return sizes[name]

    try:
        size(merged)
    except RecursionError:
        raise SegpipeError("macros (%id) copy each other too often; write the values out") from None


def parsed_configuration(file: Path) -> tuple[yaml.Node | None, Any]:
    """Return the YAML nodes, which know their lines, and the values that MONAI reads from a file.

    Args:
        file: YAML or JSON; the nodes are None if the lines are not known.

    Raises:
        DocumentError: the file cannot be read, is neither YAML nor JSON, or exceeds a bound of `segpipe.documents`.
    """
    text = read_document(file, LARGEST_CONFIGURATION)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of repeated keys; `read_configuration` reports them with their lines
        if file.suffix.lower() != ".json":
            return parse_yaml(text, CheckKeyDuplicatesYamlLoader)
    if text.startswith(BYTE_ORDER_MARK):
        raise DocumentError(
            "begins with a byte order mark, which MONAI does not read; save it as UTF-8 without"
        )
    content = parse_json(text)
    refuse_many(content)
    try:
        return compose_yaml(text), content
    except DocumentError:  # some JSON is not YAML; its lines are then not known
        return None, content
