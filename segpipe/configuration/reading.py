"""A bundle's configuration as MONAI merges it, with the file and line of each id."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.utils import merge_kv

from segpipe.configuration.files import configuration_files as configuration_files
from segpipe.configuration.finding import ConfigFinding, hint, nearest, written
from segpipe.configuration.parsing import LONGEST_MACRO, MISSING, parsed_configuration, size_of, value_at
from segpipe.configuration.references import READ_BY_MONAI, references_in, sub_items
from segpipe.documents import MOST_ITEMS, DocumentError, NoJsonError
from segpipe.errors import SegpipeError

COMMAND_LINE = "command line"
META = ConfigParser.meta_key


@dataclass
class Configuration:
    """The configuration of a run, as MONAI would resolve it.

    Attributes:
        root: the bundle's folder.
        values: merged and overridden, with macros and relative ids resolved; the metadata is below `_meta_`.
        written: the same, with macros and relative ids as the files and the command line have them.
        places: id -> file of the bundle, or the command line, and line.
        findings: mistakes in the files or in the overrides themselves.
        is_whole: every file could be read.
        contents: path in a macro -> content of that file.
        copied: number of values that macros have copied.
    """

    root: Path
    values: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    findings: list[ConfigFinding] = field(default_factory=list)
    is_whole: bool = True
    contents: dict[str, dict[Any, Any]] = field(default_factory=dict)
    copied: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The values without the metadata."""
        return {name: value for name, value in self.values.items() if name != META}

    @property
    def written_settings(self) -> dict[str, Any]:
        """The values as written, without the metadata."""
        return {name: value for name, value in self.written.items() if name != META}

    @property
    def is_ours(self) -> bool:
        """Whether segpipe made the bundle; such a bundle must follow more rules than MONAI's."""
        return "label_table" in self.values.get(META, {})

    def place(self, identifier: str) -> tuple[str, int]:
        """Return file and line of an id, or of the nearest id that contains it."""
        while identifier and identifier not in self.places:
            identifier = identifier.rpartition("::")[0]
        return self.places.get(identifier, ("", 0))

    def is_overridden(self, identifier: str) -> bool:
        """Return whether the id comes from the command line."""
        return self.place(identifier)[0] == COMMAND_LINE


def read_configuration(
    root: Path, files: Sequence[Path], overrides: Mapping[str, Any], meta_file: str | Path | None = None
) -> Configuration:
    """Merge a bundle's files and overrides as MONAI's run does, without evaluating any of it.

    Args:
        root: the bundle's folder.
        files: a later file overrides an earlier one.
        overrides: id -> value.
        meta_file: the metadata file; None: metadata.json beside the first file.

    Returns:
        the configuration, with the findings of its files and overrides.
    """
    configuration = Configuration(root)
    parser = ConfigParser({})
    for file in files:
        _merge(configuration, parser, file)
    _add_metadata(configuration, parser, Path(meta_file or files[0].parent / "metadata.json"))
    if not configuration.is_whole:
        return configuration
    for name, value in overrides.items():
        _override(configuration, parser, ReferenceResolver.normalize_id(name), value)
    configuration.written = configuration.values = parser.get()
    configuration.values = _resolved(configuration.written, "", configuration)
    return configuration


def _merge(configuration: Configuration, parser: ConfigParser, file: Path) -> None:
    shown = shown_path(file, configuration.root)
    content, lines = _content(configuration, file, shown)
    for key, value in content.items():
        if not isinstance(key, str):
            configuration.findings.append(
                ConfigFinding(
                    "", f"the id {key!r} is no text: write it in quotes", shown, lines.get(str(key), 0)
                )
            )
            continue
        name = ReferenceResolver.normalize_id(key.removeprefix("+"))
        line = lines.get(key, 0)
        before = value_at(parser.get(), name)
        if key.startswith("+") and before is MISSING:
            meant = nearest(name, sub_items(parser.get()))
            what = f"begins with +, which adds to an id, and this id does not exist{hint(meant)}"
            configuration.findings.append(ConfigFinding(name, what, shown, line))
            continue
        offset = len(before) if key.startswith("+") and isinstance(before, list) else 0
        try:
            if value_at(parser.get(), name.rpartition("::")[0]) is MISSING:
                raise KeyError(name)
            merge_kv(parser, key, value)
        except (KeyError, IndexError, ValueError):
            what = _no_place(name, parser) if not key.startswith("+") else "cannot be added to: another type"
            configuration.findings.append(ConfigFinding(name, what, shown, line))
            continue
        _note_places(configuration.places, shown, lines, key, name, offset)


def _note_places(
    places: dict[str, tuple[str, int]], file: str, lines: Mapping[str, int], key: str, name: str, offset: int
) -> None:
    added = key.startswith("+")
    if not added:
        for known in [known for known in places if known == name or known.startswith(f"{name}::")]:
            del places[known]
    for identifier, line in lines.items():
        if identifier.startswith(f"{key}::") or (identifier == key and not added):
            parts = identifier.removeprefix(key).split("::")
            if offset:  # the items are appended to a list of an earlier file
                parts[1] = str(int(parts[1]) + offset)
            places["::".join([name, *parts[1:]])] = (file, line)


def _no_place(name: str, parser: ConfigParser) -> str:
    parent = name.rpartition("::")[0]
    return f"sets an item of {written(parent)}, which does not exist{hint(nearest(parent, sub_items(parser.get())))}"


def shown_path(file: Path, root: Path) -> str:
    """Return a path for messages: relative to the bundle if the file lies in it."""
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(file)


def _content(configuration: Configuration, file: Path, shown: str) -> tuple[dict[Any, Any], dict[str, int]]:
    """Return the content of a file as MONAI reads it, and id -> line."""
    try:
        node, content = parsed_configuration(file)
    except NoJsonError as error:
        configuration.findings.append(ConfigFinding("", f"is no JSON: {error.problem}", shown, error.line))
    except DocumentError as error:
        configuration.findings.append(ConfigFinding("", error.reason, shown, error.line))
    else:
        lines = dict(_lines(node, "", configuration, shown))
        if isinstance(content, dict):
            return content, lines
        configuration.findings.append(ConfigFinding("", "holds no ids: must be `id: value` lines", shown))
    configuration.is_whole = False
    return {}, {}


def _lines(node: Any, identifier: str, configuration: Configuration, file: str) -> Iterator[tuple[str, int]]:
    """Yield id and line of everything in a node; record keys that are repeated, or are not text."""
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = key.value, key.start_mark.line + 1
            part = f"{identifier}::{name}" if identifier else name
            if key.tag.endswith(":bool"):
                what = f"is read as {name.lower() in ('yes', 'on', 'true', 'y')}, not as text: write it in quotes"
                configuration.findings.append(ConfigFinding(part, what, file, line))
            if name in first and name != "<<":
                what = f"stands twice, first in line {first[name]}; MONAI keeps the last alone: remove one"
                configuration.findings.append(ConfigFinding(part, what, file, line))
            first.setdefault(name, line)
            yield part, line
            yield from _lines(value, part, configuration, file)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            part = f"{identifier}::{position}"
            yield part, item.start_mark.line + 1
            yield from _lines(item, part, configuration, file)


def _add_metadata(configuration: Configuration, parser: ConfigParser, file: Path) -> None:
    shown = shown_path(file, configuration.root)
    content: dict[Any, Any] = {}
    if file.is_file():
        content, lines = _content(configuration, file, shown)
        configuration.places |= {f"{META}::{identifier}": (shown, line) for identifier, line in lines.items()}
    else:
        configuration.findings.append(
            ConfigFinding("", "no such file: MONAI needs a bundle's metadata", shown)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deprecated names in the metadata
        parser.set(content, META)


def _override(configuration: Configuration, parser: ConfigParser, name: str, value: Any) -> None:
    """Set an id as MONAI's run does; record a finding if the override has no effect."""
    note = configuration.findings.append
    if name not in parser and not _is_noticed(name, parser):
        note(ConfigFinding(name, f"is no id of this configuration{_meant(name, parser)}", COMMAND_LINE))
        return
    if value is None:  # MONAI drops such an override
        if parser.get(name) is not None:
            what = "is given as null, which MONAI's run ignores without a message; write it into a file of --config"
            note(ConfigFinding(name, what, COMMAND_LINE))
        return
    try:
        parser[name] = value
    except (KeyError, IndexError, ValueError):
        note(ConfigFinding(name, _no_place(name, parser), COMMAND_LINE))
        return
    for known in [known for known in configuration.places if known.startswith(f"{name}::")]:
        del configuration.places[known]
    configuration.places[name] = (COMMAND_LINE, 0)


def _meant(name: str, parser: ConfigParser) -> str:
    """Return the end of a message, with the id that was probably meant by an unknown id."""
    whole = name
    while whole and whole not in parser:
        whole = whole.rpartition("::")[0]
    items = parser.get(whole) if whole else None
    if isinstance(items, list):
        return f": {written(whole)} has the items 0 to {len(items) - 1}"
    return hint(nearest(name, sub_items({key: item for key, item in parser.get().items() if key != META})))


def _is_noticed(name: str, parser: ConfigParser) -> bool:
    """Return whether anything uses an id that the files do not have: MONAI, an argument, or a reference."""
    whole = parser.get(name.rpartition("::")[0]) if "::" in name else None
    argument = isinstance(whole, dict) and "_target_" in whole
    return argument or name in READ_BY_MONAI or name in references_in(parser.get())


def _resolved(value: Any, identifier: str, configuration: Configuration) -> Any:
    """Return a value with absolute ids for relative ones and with macros replaced, as MONAI's parser does."""
    if isinstance(value, dict | list):
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        made = [
            (key, _resolved(item, f"{identifier}::{key}" if identifier else str(key), configuration))
            for key, item in items
        ]
        return dict(made) if isinstance(value, dict) else [item for _, item in made]
    if not isinstance(value, str) or identifier.startswith(f"{META}::"):
        return value
    try:
        text = ConfigParser.resolve_relative_ids(identifier, value)
    except ValueError:
        configuration.findings.append(
            ConfigFinding(identifier, f"is {value!r}: there are not so many levels above it")
        )
        return None
    return _macro(text[1:], identifier, configuration) if text.startswith("%") else text


def _macro(text: str, identifier: str, configuration: Configuration) -> Any:
    """Return a copy of the value that a macro names: an id here, or another file, or an id in it."""
    if len(text) > LONGEST_MACRO:
        configuration.findings.append(
            ConfigFinding(identifier, f"is a macro of {len(text)} characters; it may have {LONGEST_MACRO}")
        )
        return None
    path, name = ConfigParser.split_path_id(text)
    content: Any = configuration.values
    if path and not os.path.isfile(path):  # noqa: PTH113 - Path.is_file refuses long paths
        below = " (the file is in the bundle: macros begin at the working directory)"
        what = f"copies {path}, and there is no such file{below if (configuration.root / path).is_file() else ''}"
        configuration.findings.append(ConfigFinding(identifier, what))
        return None
    if path:
        if path not in configuration.contents:
            configuration.contents[path], _ = _content(configuration, Path(path), path)
        content = configuration.contents[path]
    copied = value_at(content, name)
    if copied is MISSING:
        meant = hint(nearest(name, sub_items(content)))
        what = f"copies {written(name)}{f' of {path}' if path else ''}, which is not there{meant}"
        configuration.findings.append(ConfigFinding(identifier, what))
        return None
    configuration.copied += size_of(copied)
    if configuration.copied > MOST_ITEMS:
        raise SegpipeError(
            f"%{written(text)}: the macros copy more than {MOST_ITEMS} values in the end; write fewer"
        )
    return copy.deepcopy(copied)
