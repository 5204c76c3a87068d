"""Access to the configuration of MONAI's bundle run from an object that the run creates."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from segpipe.configuration.metadata import read_metadata
from segpipe.errors import SegpipeError, exception_chain, raise_interruption, segpipe_cause
from segpipe.monai_internals import parser_on_the_stack


def running_parser() -> ConfigParser:
    """Return the ConfigParser that resolves the calling expression.

    Raises:
        SegpipeError: the call does not come from a bundle's configuration.
    """
    parser = parser_on_the_stack()
    if parser is None:
        raise SegpipeError("this works only inside a bundle's configuration, as `$segpipe.bundle...`")
    return parser


def in_bundle_folder(path: Path) -> Path:
    """Return a relative path in the folder of the bundle that runs, where the working directory lacks the file.

    MONAI Deploy does not tell a bundle its folder, so that paths begin in the working directory. It adds the folder to
    Python's path. The folder is the one whose metadata.json the run has read.

    Args:
        path: of a file of the bundle.

    Returns:
        the path, unchanged where the file exists or where no folder, or more than one, fits.
    """
    parser = parser_on_the_stack()
    known = None if parser is None else parser.get(parser.meta_key)
    if path.is_absolute() or path.exists() or not known:
        return path
    folders = {Path(entry).resolve() for entry in sys.path if entry and _has_metadata(Path(entry), known)}
    return folders.pop() / path if len(folders) == 1 else path


def _has_metadata(folder: Path, known: Mapping[str, Any]) -> bool:
    """Return whether a folder is a bundle's with the metadata that a parser has read."""
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return False
    parser = ConfigParser({ConfigParser.meta_key: read_metadata(path)})
    parser.parse()  # MONAI changes some characters
    return bool(parser.get(ConfigParser.meta_key) == known)


@contextmanager
def in_one_message(root: Path, name: str) -> Iterator[None]:
    """Turn an exception of the creation of a bundle's object into one message.

    Args:
        root: the bundle's folder.
        name: id of the object, or words for it.

    Raises:
        SegpipeError: the message has the reason.
    """
    try:
        yield
    except Exception as error:  # a configuration can run any code, and raise any exception
        raise_interruption(error)
        known = segpipe_cause(error)
        if known is not None:
            raise SegpipeError(*known.args) from error
        *_, cause = exception_chain(error, contexts=False)
        reason = f"{type(cause).__name__}: {cause}"
        first, *others = f"{root}: its {name} cannot be made: {reason}; correct the configuration".split("\n")
        raise SegpipeError(first, *others) from error


def merged_configuration(parser: ConfigParser) -> dict[str, Any]:
    """Return the configuration with its overrides, in plain types, without the metadata."""
    return {name: value for name, value in parser.get().items() if name != parser.meta_key}


def resolved_components(parser: ConfigParser, name: str) -> list[dict[str, Any]]:
    """Return the components of a list as class paths with resolved arguments, in plain types.

    Args:
        parser: parser of the bundle.
        name: the id of a list of `_target_` components.

    Raises:
        SegpipeError: there is no such id.
    """
    if name not in parser:
        raise SegpipeError(
            f"the configuration has no {name!r}; a segpipe bundle keeps its deterministic transforms there"
        )
    return [
        {
            key: value
            if key == "_target_"
            else _plain(parser.get_parsed_content(f"{name}::{position}::{key}"))
            for key, value in component.items()
        }
        for position, component in enumerate(parser.get(name))
    ]


def _plain(value: Any) -> Any:
    """Convert a resolved argument to JSON's types; an object such as a dtype or device becomes its name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)
