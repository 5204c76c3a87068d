"""The classes and channels in a model's dataset.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.dataset.importing.nnunet_labels import nnunet_labels
from segpipe.errors import SegpipeError
from segpipe.known_terms import with_known_codes
from segpipe.labels import IGNORE, Label, LabelTable, class_color, same_name
from segpipe.names import require_name


def label_table(dataset: Mapping[str, Any], where: Path) -> LabelTable:
    """Return the classes of a model, by the network's outputs.

    Args:
        dataset: content of dataset.json.
        where: its path, for messages.

    Raises:
        SegpipeError: `segpipe.dataset.importing.nnunet_labels` or `LabelTable` refuses the labels, or the classes'
            values are not 0, 1, 2 and so on, which nnU-Net writes whatever the file says.
    """
    named = nnunet_labels(dataset.get("labels"), where, dataset.get("regions_class_order"))
    ignored = [value for value, name in named.names.items() if same_name(name) == IGNORE]
    classes = {value: name for value, name in sorted(named.names.items()) if value not in ignored}
    if list(classes) != list(range(len(classes))):
        raise SegpipeError(
            f"{where}: labels has the values {list(classes)}, must be 0 to {len(classes) - 1}; nnU-Net writes the "
            "number of the network's output, so correct the values"
        )
    try:
        table = LabelTable(
            tuple(Label(value, name, class_color(value), value) for value, name in classes.items()),
            ignore_value=next(iter(ignored), None),
        ).with_regions(named.regions)
    except SegpipeError as error:
        raise SegpipeError(f"{where}: {error}") from error
    return with_known_codes(table)


def channel_names(dataset: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    """Return the names of a model's channels in order; a repeated name gets its number.

    Args:
        dataset: content of dataset.json.
        where: its path, for messages.

    Raises:
        SegpipeError: the channels are not numbered from 0 on, or a name is refused.
    """
    given = dataset.get("channel_names", dataset.get("modality"))
    numbered = isinstance(given, Mapping) and all(re.fullmatch("[0-9]{1,4}", str(key)) for key in given)
    names = {int(key): str(name).strip() for key, name in given.items()} if numbered else {}
    if not names or sorted(names) != list(range(len(names))) or not all(names.values()):
        raise SegpipeError(
            f'{where}: channel_names must be an object such as {{"0": "T1", "1": "FLAIR"}}, is {given!r:.80}; '
            "correct it"
        )
    listed = [names[number] for number in range(len(names))]
    for name in listed:
        require_name(name, f"{where}: channel_names")
    folded = [same_name(name) for name in listed]
    return tuple(
        f"{name} ({number})" if folded.count(same_name(name)) > 1 else name
        for number, name in enumerate(listed)
    )
