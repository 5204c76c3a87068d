"""Write files beside label maps with the names and colours of the labels: one for ITK-SNAP, one for 3D Slicer.

`labels.label` is ITK-SNAP's label description (Segmentation > Import Label Descriptions), which MRIcroGL reads, too.
`labels.ctbl` is 3D Slicer's colour table (Add Data). One pair of files serves all label maps of a folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError, shown
from segpipe.files import write_text
from segpipe.labels import Label, LabelTable, same_name

ITK_SNAP_FILE = "labels.label"
SLICER_FILE = "labels.ctbl"

_ITK_SNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""
_MARK = "# Written by segpipe; SHA-256 of the rows below: "


@dataclass(frozen=True)
class _Format:
    """A program's file format for the names of labels.

    Attributes:
        program: the name of the program.
        highest: the largest value in the format; the program rejects a file with a larger or a negative value.
        header: the lines before the rows.
        row: returns the row of a class.
        name: returns a class's name in a form that the format allows.
        rows: pattern of value and name in a row.
    """

    program: str
    highest: int
    header: str
    row: Callable[[Label, str], str]
    name: Callable[[Label], str]
    rows: re.Pattern[str]


def plain_name(label: Label) -> str:
    """Return a class's name on one line; one space replaces each run of spaces and unprintable characters."""
    printed = "".join(letter if letter.isprintable() else " " for letter in label.name)
    return " ".join(printed.split()) or f"label {label.value}"


def _itk_snap_row(label: Label, name: str) -> str:
    red, green, blue = label.color
    drawn = int(label.index > 0)
    return f'  {label.value:>3}   {red:>3}  {green:>3}  {blue:>3}  {drawn:>7}  {drawn}  {drawn}    "{name}"'


def _slicer_row(label: Label, name: str) -> str:
    red, green, blue = label.color
    return f"{label.value} {name} {red} {green} {blue} {255 if label.index else 0}"


_FORMATS = {
    ITK_SNAP_FILE: _Format(
        program="ITK-SNAP",
        highest=65535,
        header=_ITK_SNAP_HEADER,
        row=_itk_snap_row,
        name=lambda label: plain_name(label).replace('"', "'"),  # a name ends at the next quotation mark
        rows=re.compile(r'^[ \t]*(\d+)(?:[ \t]+[\d.]+){6}[ \t]+"([^"\n]*)"', re.MULTILINE),
    ),
    SLICER_FILE: _Format(
        program="3D Slicer",
        highest=32768,
        header=f"# Color table file {SLICER_FILE}\n",
        row=_slicer_row,
        # fields are separated by spaces; 3D Slicer itself writes _ for a space, and drops apostrophes at the ends
        name=lambda label: plain_name(label).strip("' ").replace(" ", "_") or "_",
        rows=re.compile(r"^[ \t]*(\d+)[ \t]+(\S+)(?:[ \t]+[\d.]+){4}", re.MULTILINE),
    ),
}
LABEL_FILES = tuple(_FORMATS)
"""Names of the files with the names and colours of the labels."""


def label_file_text(name: str, labels: LabelTable) -> str:
    """Return the content of a file with the names and colours of a label table.

    Args:
        name: `ITK_SNAP_FILE` or `SLICER_FILE`.
        labels: the classes; the stored value of a class is the label's number in the file.

    Returns:
        The text. A comment names each class whose value the program does not accept.
    """
    format_ = _FORMATS[name]
    taken = [label for label in labels.labels if 0 <= label.value <= format_.highest]
    rows = "".join(f"{format_.row(label, format_.name(label))}\n" for label in taken)
    left_out = "".join(
        f"# left out: {label.value} {plain_name(label)}; {format_.program} takes 0 to {format_.highest}\n"
        for label in labels.labels
        if label not in taken
    )
    return f"{format_.header}{left_out}{_MARK}{_sha256(rows)}\n{rows}"


def write_label_files(
    folder: Path, labels: LabelTable, *, others: Sequence[str] | None = None, overwrite: bool = False
) -> None:
    """Write the names and colours of the labels once for all label maps in a folder.

    An existing file with these names stays, with any colours, since a viewer may have saved it. A file with other names
    is replaced only if segpipe wrote it, it is unchanged, and no other label map in the folder needs it.

    Args:
        folder: of the label maps; made as needed.
        labels: the classes of the next label maps.
        others: cases whose label maps stay in the folder; None where they are not known.
        overwrite: replace files that segpipe did not write, or that were changed.

    Raises:
        SegpipeError: a file with other names is needed by other label maps, or was not written by segpipe or was
            changed; or a file cannot be written.
    """
    texts = {name: label_file_text(name, labels) for name in _FORMATS}
    needed = {
        name: text for name, text in texts.items() if _is_needed(folder / name, text, others, overwrite)
    }
    for name, text in needed.items():
        try:
            write_text(folder / name, text)
        except OSError as error:
            raise SegpipeError(
                f"{folder / name}: cannot be written ({error.strerror}); check space and permissions there"
            ) from error


def _is_needed(path: Path, text: str, others: Sequence[str] | None, overwrite: bool) -> bool:
    """Return whether a file must be written; refuse to replace an existing file that is needed."""
    if not path.exists():
        return True
    try:
        present = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SegpipeError(f"{path}: cannot be read ({error.strerror}); check the permissions") from error
    rows = _FORMATS[path.name].rows
    there, wanted = _named(rows, present), _named(rows, text)
    differing = [value for value in wanted if not _agree(value, there, wanted)]
    if there and not differing:
        return False
    if not _is_written_by_segpipe(present):
        if overwrite:
            return True
        raise SegpipeError(
            f"{path}: lies where segpipe writes the names of the labels, and {_difference(there, wanted, differing)}; "
            "segpipe did not write this file, or somebody changed it: choose another output folder, or move the file"
        )
    keeps_names = all(_agree(value, there, wanted) for value in there)
    if not keeps_names and (others is None or others):
        which = "" if others is None else f" ({shown(others)})"
        raise SegpipeError(
            f"{path}: names the labels of the label maps there{which}, and {_difference(there, wanted, differing)}; "
            "choose another output folder for label maps of this label table"
        )
    return True


def _named(rows: re.Pattern[str], text: str) -> dict[int, str]:
    return {int(value): name for value, name in rows.findall(text)}


def _agree(value: int, there: Mapping[int, str], wanted: Mapping[int, str]) -> bool:
    """Return whether both have one name for a value; True for 0, whose name ITK-SNAP changes."""
    return not value or same_name(there.get(value, "")) == same_name(wanted.get(value, ""))


def _difference(there: Mapping[int, str], wanted: Mapping[int, str], differing: Sequence[int]) -> str:
    """Return how a file and a label table differ in the first differing value."""
    if not there or not differing:
        return "names no label"
    value = differing[0]
    named = repr(there[value]) if value in there else "nothing"
    return f"calls the value {value} {named} where the label table calls it {wanted[value]!r}"


def _is_written_by_segpipe(text: str) -> bool:
    """Return whether segpipe wrote a text and nobody changed it, by the SHA-256 in it."""
    _, mark, rest = text.partition(_MARK)
    sha256, _, rows = rest.partition("\n")
    return bool(mark) and sha256 == _sha256(rows)


def _sha256(rows: str) -> str:
    return hashlib.sha256(rows.encode()).hexdigest()
