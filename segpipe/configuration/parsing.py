"""Reads configuration files by MONAI's rules: each file once, and within bounds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.utils import merge_kv
from monai.utils.misc import CheckKeyDuplicatesYamlLoader

from segpipe.configuration.finding import written
from segpipe.configuration.references import strings
from segpipe.documents import (
    BYTE_ORDER_MARK,
    DEEPEST,
    LARGEST_CONFIGURATION,
    MOST_ITEMS,
    TEXT_OF_A_VALUE,
    DocumentError,
    compose_yaml,
    parse_json,
    parse_yaml,
    read_document,
    refuse_many,
)
from segpipe.errors import SegpipeError

LONGEST_MACRO = 4096
"""Characters of a macro, as of a path; MONAI's look for a path in it takes time with the square of its length."""
MISSING = object()
"""Marks an id that does not exist."""
WITHOUT_END = "macros (%id) copy each other without end; write the values out"
_TOO_LARGE = f"copies more than {MOST_ITEMS} values or {DEEPEST} levels in the end; write fewer"


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
            is_new = (
                isinstance(key, str) and key.startswith("+") and value_at(parser.get(), key[1:]) is MISSING
            )
            try:
                merge_kv(parser, key[1:] if is_new else key, value)
            except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
                raise SegpipeError(
                    f"{file}: {key!r} cannot be set: {error}; `segpipe check` says more"
                ) from error
    merged = without_file_macros(parser.get(), located)
    require_bounded_macros(merged.values)
    return merged


def without_file_macros(values: dict[str, Any], located: Callable[[Path], Path] = Path) -> Merged:
    """Replace macros that copy from another file, as MONAI does; each file is read once and within bounds.

    Args:
        values: content of a configuration.
        located: maps the path in a macro to the file to read.

    Raises:
        SegpipeError: the other file cannot be read or lacks the id, the copied value is a macro itself, or the macros
            copy too much.
    """
    contents: dict[str, dict[str, Any]] = {}
    total = 0

    def replaced(value: Any) -> Any:
        nonlocal total
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
        if value_at(parser.get(), name) is MISSING:
            raise SegpipeError(f"{value}: there is no {written(name)} in {path}; correct the macro")
        total += size_of(parser[name])
        if total > MOST_ITEMS:
            raise SegpipeError(f"{value}: {_TOO_LARGE}")
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
    if len(value) > LONGEST_MACRO:
        raise SegpipeError(
            f"{value[:40]}...: is a macro of {len(value)} characters; it may have {LONGEST_MACRO}"
        )
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


def require_bounded_macros(values: dict[str, Any]) -> None:
    """Refuse macros that copy too much in the end, copy each other without end, or would become paths of files.

    MONAI makes `%#b` in `a.yaml::b` the macro `%a.yaml::b`, and would read the file `a.yaml`.

    Args:
        values: content of a configuration, without macros that copy from another file.

    Raises:
        SegpipeError: the message has the macro or the bound.
    """
    try:
        absolute = _with_absolute_macros(values, "")
        _require_bounded(absolute)
    except RecursionError:
        raise SegpipeError("macros (%id) copy each other too often; write the values out") from None


def _with_absolute_macros(value: Any, identifier: str) -> Any:
    """Return a copy with absolute ids in all macros."""
    if isinstance(value, dict | list):
        items = ReferenceResolver.iter_subconfigs(identifier, value)
        made = [(key, _with_absolute_macros(item, part)) for key, part, item in items]
        return dict(made) if isinstance(value, dict) else [item for _, item in made]
    if not (isinstance(value, str) and value.startswith("%")):
        return value
    try:
        absolute: str = ConfigParser.resolve_relative_ids(identifier, value)
    except ValueError as error:
        raise SegpipeError(f"a macro or a relative id refers to nothing: {error}") from error
    if _file_macro(absolute)[0]:
        raise SegpipeError(
            f"{absolute}: becomes a file's path, since an id is named like a file; rename the id"
        )
    return absolute


def _require_bounded(values: dict[str, Any]) -> None:
    known: dict[str, tuple[int, int]] = {}
    open_names: set[str] = set()

    def measured(value: Any) -> tuple[int, int]:
        """Return number and levels of the values after all macros are replaced."""
        if isinstance(value, dict | list):
            parts = [measured(item) for item in (value.values() if isinstance(value, dict) else value)]
            return 1 + sum(size for size, _ in parts), 1 + max((levels for _, levels in parts), default=0)
        if not (isinstance(value, str) and value.startswith("%")):
            return size_of(value), 1
        name = ReferenceResolver.normalize_id(value[1:])
        if name in open_names:
            raise SegpipeError(f"%{written(name)}: {WITHOUT_END}")
        if name not in known and (copied := value_at(values, name)) is not MISSING:
            open_names.add(name)
            known[name] = measured(copied)
            open_names.discard(name)
        size, levels = known.get(name, (1, 1))
        if size > MOST_ITEMS or levels > DEEPEST:
            raise SegpipeError(f"%{written(name)}: {_TOO_LARGE}")
        return size, levels

    size, levels = measured(values)
    if size > MOST_ITEMS or levels > DEEPEST + 2:  # the metadata stand one level deeper than in their file
        raise SegpipeError(
            f"with its macros (%id) the configuration has {size} values in {levels} levels; at most {MOST_ITEMS} in "
            f"{DEEPEST} are read: write fewer"
        )


def value_at(values: Any, identifier: str) -> Any:
    """Return the value of an id as MONAI's parser finds it, or MISSING.

    MONAI compares a missing id with every known one, letter by letter, which takes minutes for thousands of ids.
    """
    value = values
    for part in ReferenceResolver.split_id(identifier) if identifier else ():
        if isinstance(value, dict) and part.strip() in value:
            value = value[part.strip()]
        elif isinstance(value, list):
            try:
                value = value[int(part)]
            except (ValueError, IndexError):
                return MISSING
        else:
            return MISSING
    return value


def size_of(value: Any) -> int:
    """Return the number of values in a value; a long text counts as many."""
    if isinstance(value, dict | list):
        return 1 + sum(map(size_of, value.values() if isinstance(value, dict) else value))
    return 1 + (len(value) // TEXT_OF_A_VALUE if isinstance(value, str) else 0)


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
