"""Files of a configuration, each read once and within bounds, as MONAI reads them."""

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
    """What several configuration files hold together.

    Attributes:
        values: merged, the later file overriding the earlier; macros that copy from another file are replaced.
        reached: the other files that such macros copy from.
    """

    values: dict[str, Any]
    reached: tuple[Path, ...]


def merged_files(files: Sequence[Path], located: Callable[[Path], Path] = Path) -> Merged:
    """Return what MONAI makes of several files, the later overriding, each read once and within bounds.

    Args:
        files: of the configuration.
        located: where the file lies that a macro names; default: where it says.

    Raises:
        SegpipeError: a file cannot be read, holds no ids, or what it copies from elsewhere is without end.
    """
    parser = ConfigParser({})
    for file in files:
        for key, value in _own_content(file).items():
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
    """Replace the macros that copy from another file, as MONAI does; each file is read once and within bounds.

    Args:
        values: of a configuration.
        located: where the file lies that a macro names.

    Raises:
        SegpipeError: such a file cannot be read or has no such id, or what it holds is a macro again.
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
        if "::" in path:  # MONAI reads another file, whose name begins with ids
            raise SegpipeError(f"{value}: the path of a file holds no # and no ::; correct the macro")
        if path not in contents:
            contents[path] = _own_content(located(Path(path)))
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
    """Return the file and the id that a macro copies from; two empty texts of any other value."""
    if not (isinstance(value, str) and value.startswith("%")):
        return "", ""
    path, name = ConfigParser.split_path_id(value[1:])
    return (path, name) if path else ("", "")


def _own_content(file: Path) -> dict[str, Any]:
    try:
        content = parsed_configuration(file)[1]
    except DocumentError as error:
        raise SegpipeError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise SegpipeError(f"{file}: holds no ids: must be `id: value` lines")
    return content


def _refuse_doubling(merged: dict[str, Any]) -> None:
    """Refuse macros that copy what copies again, and so on, until it is more than a configuration may hold."""
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
    """Return YAML's nodes, which know their lines, and the values that MONAI makes of a file.

    Args:
        file: of YAML or JSON; nodes are None where its lines cannot be told.

    Raises:
        DocumentError: it cannot be read, is neither, or passes one of the bounds of `segpipe.documents`.
    """
    text = read_document(file, LARGEST_CONFIGURATION)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of keys that stand twice, which `read_configuration` finds with their lines
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
    except DocumentError:  # not all JSON is YAML; lines are not known then
        return None, content
