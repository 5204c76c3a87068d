"""Reads foreign JSON and YAML within bounds; refuses files that would take unlimited memory or time."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from segpipe.errors import SegpipeError
from segpipe.regular_files import NO_REGULAR_FILE, open_regular

DEEPEST = 64
"""Levels of brackets, or of indented blocks."""
LONGEST_NUMBER = 100
"""Characters of a number."""
MOST_BRACKETS = 5_000_000
"""Objects and lists of JSON; in memory they take up to a hundred times the bytes of their text."""
MOST_ITEMS = 20_000
"""Values of a YAML file; an alias counts as all values that it stands for."""
TEXT_OF_A_VALUE = 20
"""Characters that count as one more value, so that aliases of a long text do not take unlimited memory."""
LARGEST_CONFIGURATION = 2**18
"""Bytes of a configuration file of a bundle."""
LARGEST_DATA = 2**28
"""Bytes of a file that lists data: a manifest or a ledger."""

BYTE_ORDER_MARK = "\ufeff"


class DocumentError(Exception):
    """A document is refused.

    Attributes:
        reason: the end of a sentence that begins with the file.
        line: line in the file, from 1; 0 if it is not known.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


class RepeatedKeyError(DocumentError):
    """A JSON object repeats a key; the reason is a whole sentence."""


class NoJsonError(DocumentError):
    """A text is not JSON.

    Attributes:
        problem: message of Python's JSON parser.
    """

    def __init__(self, error: json.JSONDecodeError) -> None:
        place = f"in line {error.lineno}, column {error.colno}"
        super().__init__(f"is not JSON: {error.msg} {place}; mend it there", error.lineno)
        self.problem = error.msg


def read_document(path: Path, largest: int = LARGEST_DATA) -> str:
    """Return the text of a file, without the byte order mark that it may begin with.

    Args:
        path: file of UTF-8 text.
        largest: largest number of bytes that are read.

    Raises:
        DocumentError: the file cannot be read, is not UTF-8 text, or is too large.
    """
    try:
        with open_regular(path) as file:
            content = file.read(largest + 1)
    except SegpipeError as error:
        raise DocumentError(NO_REGULAR_FILE) from error
    except ValueError as error:  # see `segpipe.regular_files.is_possible`
        raise DocumentError("cannot be read: no file can have this path; correct it") from error
    except OSError as error:
        raise DocumentError(
            f"cannot be read ({error.strerror}); check the path and the permissions"
        ) from error
    if len(content) > largest:
        raise DocumentError(f"is larger than {largest} bytes, the limit for such a file; give another file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def parse_json(text: str, *, unique_keys: bool = False, finite: bool = False) -> Any:
    """Return the values of JSON.

    Args:
        text: content of the file.
        unique_keys: refuse an object that repeats a key; without this, the last value counts.
        finite: refuse NaN and infinite numbers, which are not JSON and cannot be hashed.

    Raises:
        DocumentError: the text is not JSON, or exceeds a bound.
    """
    brackets = text.count("[") + text.count("{")
    if brackets > MOST_BRACKETS:
        raise DocumentError(
            f"has {brackets} opening brackets; at most {MOST_BRACKETS} are read: give another file"
        )
    try:
        content = json.loads(
            text.removeprefix(BYTE_ORDER_MARK),
            object_pairs_hook=_refuse_repeated_keys if unique_keys else None,
            parse_int=lambda digits: int(_bounded(digits)),
            parse_float=lambda digits: _as_float(_bounded(digits), finite=finite),
            parse_constant=lambda name: _as_float(name, finite=finite),
        )
    except json.JSONDecodeError as error:
        raise NoJsonError(error) from error
    except RecursionError:
        raise DocumentError(_TOO_DEEP) from None
    _refuse_depth(content)
    return content


def parse_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> tuple[yaml.Node | None, Any]:
    """Return the nodes of YAML, which know their lines, and its values; None for a text without content.

    Args:
        text: content of the file.
        loader: constructs the values.

    Raises:
        DocumentError: the text is not YAML, or exceeds a bound.
    """
    node = compose_yaml(text, loader)
    if node is None:
        return None, None
    making = loader("")
    try:
        return node, making.construct_document(node)
    except yaml.YAMLError as error:
        raise _no_yaml(error) from error
    except (
        ValueError,
        OverflowError,
        TypeError,
        AttributeError,
    ) as error:  # for example impossible dates
        raise DocumentError(f"is no YAML: {error}") from error
    finally:
        making.dispose()


def compose_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> yaml.Node | None:
    """Return only the nodes of YAML, see `parse_yaml`."""
    try:
        composing = loader(text)
        try:
            node = composing.get_single_node()
        finally:
            composing.dispose()
    except yaml.YAMLError as error:
        raise _no_yaml(error) from error
    except RecursionError:
        raise DocumentError(_TOO_DEEP) from None
    if node is not None:
        _refuse_expansion(node)
    return node


_TOO_DEEP = f"is nested too deeply, more than {DEEPEST} levels; mend it"


def _no_yaml(error: yaml.YAMLError) -> DocumentError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        reason = " ".join(f"is no YAML: {error.problem or error.context}".split())
        return DocumentError(reason, mark.line + 1 if mark else 0)
    return DocumentError(" ".join(f"is no YAML: {error}".split()))


def _bounded(digits: str) -> str:
    if len(digits) > LONGEST_NUMBER:
        raise DocumentError(f"holds a number of {len(digits)} characters ({digits[:12]}...); correct it")
    return digits


def _as_float(digits: str, *, finite: bool) -> float:
    number = float(digits)
    if finite and not math.isfinite(number):
        raise DocumentError(f"holds the number {digits}, which is not finite; correct it")
    return number


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise RepeatedKeyError(f"the key {twice!r} stands twice in one object; remove one")
    return entries


def refuse_many(content: Any) -> None:
    """Refuse JSON with more values than a configuration may have.

    Raises:
        DocumentError: the message has the bound.
    """
    waiting, count = [content], 0
    while waiting:
        parts = list(_values(waiting.pop()))
        waiting += parts
        count += len(parts)
        if count > MOST_ITEMS:
            raise DocumentError(f"holds more than {MOST_ITEMS} values; write fewer")


def _refuse_depth(content: Any) -> None:
    level = [content]
    for _ in range(DEEPEST + 1):
        level = [part for value in level for part in _values(value) if isinstance(part, dict | list)]
        if not level:
            return
    raise DocumentError(_TOO_DEEP)


def _values(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _refuse_expansion(root: yaml.Node) -> None:
    """Refuse nodes that are too many, or too deep, once every alias is replaced; each node is visited once."""
    sizes: dict[int, tuple[int, int]] = {}  # node -> number of values and levels that it stands for
    open_nodes: set[int] = set()
    waiting: list[tuple[yaml.Node, bool]] = [(root, False)]
    while waiting:
        node, parts_done = waiting.pop()
        line = node.start_mark.line + 1
        if parts_done:
            parts = [sizes[id(part)] for part in _parts(node)]
            length = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
            size = 1 + length // TEXT_OF_A_VALUE + sum(count for count, _ in parts)
            depth = 1 + max((below for _, below in parts), default=0)
            if size > MOST_ITEMS:
                raise DocumentError(
                    f"stands for more than {MOST_ITEMS} values once its aliases (*name) are written out; write fewer",
                    line,
                )
            if depth > DEEPEST:
                raise DocumentError(_TOO_DEEP, line)
            sizes[id(node)] = size, depth
            open_nodes.discard(id(node))
        elif id(node) in open_nodes:
            raise DocumentError("holds an alias (*name) of what it stands in; write the value out", line)
        elif id(node) not in sizes:
            if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")):
                try:
                    _bounded(node.value)
                except DocumentError as error:
                    raise DocumentError(error.reason, line) from None
            open_nodes.add(id(node))
            waiting.append((node, True))
            waiting += [(part, False) for part in _parts(node)]


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def json_of(text: str) -> str:
    """Return a YAML file's content as indented JSON.

    MONAI Deploy's pipeline generator reads `inference.json` alone, so bundles have it beside `inference.yaml`.
    """
    return json.dumps(yaml.safe_load(text), indent=2, ensure_ascii=False) + "\n"
