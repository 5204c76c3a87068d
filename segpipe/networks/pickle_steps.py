"""Follows the pickle in a PyTorch file step by step, without creating the objects that it describes.

`torch.load(weights_only=True)` runs no code, but a file of a few bytes can still take all memory: a tensor larger than
its storage, `bytearray(10**12)`, or nested tuples as a key. segpipe therefore follows the steps first. A pickle that
passes describes only tensors within their storages, numbers, texts, and lists and dicts of these.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from segpipe.networks.pickle_values import (
    MOST_VALUES,
    Group,
    MoreThanTensorsError,
    NumberType,
    PickleError,
    Storage,
    Tensor,
    called,
    named,
    paired,
    shortened,
    storage_of,
)

_NEWEST_PROTOCOL = 3
MOST_REPEATED = 2**24
"""Bytes that all tensors together may have beyond their storages."""


class _Steps:
    """The state of a pickle that is followed.

    Attributes:
        stack: values since the last mark that belong to no group yet.
        marked: the stacks before each mark.
        memo: values that the pickle may refer to again.
        storages: the storages that the pickle refers to, by key.
        repeated: sum of `Tensor.repeated`.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.repeated = 0

    def put(self, value: Any) -> None:
        self.stack.append(value)

    def take(self, count: int) -> list[Any]:
        """Remove and return the last values.

        Raises:
            IndexError: there are fewer.
        """
        if len(self.stack) < count:
            raise IndexError(count)
        at = len(self.stack) - count
        taken, self.stack[at:] = self.stack[at:], []
        return taken

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        value = self.memo[place]
        if isinstance(value, Group):
            value.shared = True
        self.put(value)

    def extend(self, kind: str, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, Group) or target.kind != kind:
            raise MoreThanTensorsError(f"values that are added to no {kind}")
        target.add(paired(items) if kind == "dict" else items)

    def refer(self) -> None:
        (description,) = self.take(1)
        storage = storage_of(description)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise PickleError(f"storage {shortened(storage.key)} is described in two ways")
        self.put(storage)

    def call(self) -> None:
        value = called(*self.take(2))
        if isinstance(value, Tensor):
            self.repeated += value.repeated
            if self.repeated > MOST_REPEATED:
                raise PickleError(
                    f"its tensors stand for {shortened(self.repeated)} bytes more than it holds"
                )
        self.put(value)

    def build(self) -> None:
        """Ignore attributes: a state dict's `_metadata` does not change its numbers; check those of a number format."""
        target, attributes = self.take(2)
        if isinstance(target, NumberType):
            target.require_state(attributes)
            self.put(target)
            return
        if not all(isinstance(value, Group) and value.kind == "dict" for value in (target, attributes)):
            raise MoreThanTensorsError("attributes of an object")
        self.put(target)


def follow(pickle: BinaryIO) -> tuple[Any, Mapping[str, Storage]]:
    """Follow a pickle to its end.

    Args:
        pickle: positioned at its first byte; afterwards behind its last byte. The file's length bounds the memory.

    Returns:
        the described value: a number or text as it is, a list of the items, and a mark for anything else;
        the storages of its tensors, by key.

    Raises:
        MoreThanTensorsError: the pickle describes other things than tensors and plain values.
        PickleError: the bytes are no complete pickle, exceed a bound, or describe a tensor that is not within its
            storage.
    """
    steps = _Steps()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            if opcode.name == "STOP":
                (value,) = steps.take(1)
                is_list = isinstance(value, Group) and value.kind == "list"
                return value.items if is_list else value, steps.storages
            if number >= MOST_VALUES:
                raise PickleError(f"it takes more than {MOST_VALUES} steps")
            if opcode.proto > _NEWEST_PROTOCOL:
                raise PickleError(
                    f"it was saved with pickle_protocol {opcode.proto} or newer, and PyTorch's safe loader takes 2; "
                    "leave pickle_protocol out"
                )
            if opcode.name not in _STEPS:
                raise PickleError(
                    f"its pickle has the step {opcode.name}, which PyTorch's safe loader does not take"
                )
            _STEPS[opcode.name](steps, argument)
    except (IndexError, KeyError) as error:
        raise PickleError("its pickle is damaged") from error
    except ValueError as error:  # from genops: the bytes are no pickle, or end too early
        raise PickleError(f"its pickle is damaged: {shortened(error)}") from error
    raise PickleError("its pickle has no end")


_STEPS: dict[str, Callable[[_Steps, Any], None]] = {
    "PROTO": lambda *_: None,
    "MARK": lambda steps, _: steps.mark(),
    "GLOBAL": lambda steps, name: steps.put(named(name)),
    "REDUCE": lambda steps, _: steps.call(),
    "BUILD": lambda steps, _: steps.build(),
    "BINPERSID": lambda steps, _: steps.refer(),
    "NEWTRUE": lambda steps, _: steps.put(True),
    "NEWFALSE": lambda steps, _: steps.put(False),
    "EMPTY_LIST": lambda steps, _: steps.put(Group("list")),
    "EMPTY_DICT": lambda steps, _: steps.put(Group("dict")),
    "EMPTY_TUPLE": lambda steps, _: steps.put(Group("tuple")),
    "TUPLE": lambda steps, _: steps.put(Group("tuple").add(steps.since_mark())),
    "TUPLE1": lambda steps, _: steps.put(Group("tuple").add(steps.take(1))),
    "TUPLE2": lambda steps, _: steps.put(Group("tuple").add(steps.take(2))),
    "TUPLE3": lambda steps, _: steps.put(Group("tuple").add(steps.take(3))),
    "APPEND": lambda steps, _: steps.extend("list", steps.take(1)),
    "APPENDS": lambda steps, _: steps.extend("list", steps.since_mark()),
    "SETITEM": lambda steps, _: steps.extend("dict", steps.take(2)),
    "SETITEMS": lambda steps, _: steps.extend("dict", steps.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Steps.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Steps.recall),
    **dict.fromkeys(("NONE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Steps.put),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING"), _Steps.put),
}
