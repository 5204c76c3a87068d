"""The list of weights in a bundle's `configs/inference.yaml`; every other character of the file stays as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from segpipe.documents import DocumentError, compose_yaml, json_of, read_document
from segpipe.errors import SegpipeError
from segpipe.files import write_text

_MODELS = "'/models/"


class WeightsList:
    """The weights that a bundle's inference uses.

    Args:
        bundle: the bundle's folder.

    Attributes:
        names: names of the files below `models/`; empty where the configuration names files elsewhere.

    Raises:
        SegpipeError: the file cannot be read.
    """

    def __init__(self, bundle: Path) -> None:
        self.path = bundle / "configs" / "inference.yaml"
        try:
            self._text = read_document(self.path)
            node = compose_yaml(self._text)
        except DocumentError as error:
            raise SegpipeError(f"{self.path}: {error}") from error
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((value for key, value in entries if key.value == "weights"), None)
        self._list = found if isinstance(found, yaml.SequenceNode) else None
        self.names = [] if self._list is None else _names(self._list)

    def require_place(self) -> None:
        """Refuse a configuration whose weights are no list of files in `models/`.

        Raises:
            SegpipeError: the message shows such a list.
        """
        if not self.names:
            raise SegpipeError(
                f"{self.path}: its weights must be a list such as {_line(['model.pt'])}, for several files to be named "
                "there; correct it, or promote one file"
            )

    def write(self, names: Sequence[str]) -> list[Path]:
        """Name other files, and return the files of the configuration that were changed.

        Args:
            names: names of files below `models/`.
        """
        if self._list is None or list(names) == self.names:
            return []
        last = self._list if self._list.flow_style else self._list.value[-1]
        start, end = self._list.start_mark.index, last.end_mark.index
        if not self._list.flow_style:  # the dash of the first item stands on a line of its own
            start = self._text.rindex(":", 0, start) + 1
        gap = "" if self._list.flow_style else " "
        text = f"{self._text[:start]}{gap}{_line(names)}{self._text[end:]}"
        write_text(self.path, text)
        twin = self.path.with_suffix(".json")
        if not twin.is_file():
            return [self.path]
        write_text(twin, json_of(text))
        return [self.path, twin]


def _names(node: yaml.SequenceNode) -> list[str]:
    """Return the names in texts such as `$@bundle_root + '/models/model.pt'`; empty if one is of another form."""
    names = []
    for item in node.value:
        before, place, name = str(item.value).partition(_MODELS)
        if before.strip() != "$@bundle_root +" or not place or not name.endswith("'"):
            return []
        names.append(name[:-1])
    return names


def _line(names: Sequence[str]) -> str:
    return f"[{', '.join(json.dumps(f'$@bundle_root + {_MODELS}{name}' + chr(39)) for name in names)}]"
