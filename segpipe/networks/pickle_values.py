"""What the pickle of a PyTorch file may describe: tensors on storages, plain values, and groups of these.

Nothing here makes a tensor or calls a function that a file names: marks stand in the place of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

MOST_VALUES = 500_000
"""Values that a pickle describes."""
DEEPEST = 64
"""Levels of lists, tuples and dicts."""
NUMBER_CODES = {*("f2", "f4", "f8"), *("i1", "i2", "i4", "i8"), *("u1", "u2", "u4", "u8"), "b1"}
"""NumPy's plain number formats: kind and bytes."""

_STORAGES = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
        "ComplexDouble": torch.complex128,
        "ComplexFloat": torch.complex64,
    }.items()
}
_KINDS_OF_TENSOR = {"torch Tensor", "monai.data.meta_tensor MetaTensor"}
_ATTRIBUTES_OF_TENSOR = {  # attributes that MONAI and PyTorch give a tensor
    *(
        "_meta",
        "_applied_operations",
        "_pending_operations",
        "_is_batch",
        "_spatial_ndim",
        "_is_param",
        "_affine",
    ),
    *("_is_buffer", "persistent"),
}
_BEFORE_1_6 = 6  # parts of a storage's name before 1.6; the last is the storage that it is a view of
_PAIR = 2


class PickleError(Exception):
    """A pickle is refused; the text gives the reason."""


class MoreThanTensorsError(PickleError):
    """A pickle describes other things than tensors and plain values."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage: numbers in the file, outside its pickle.

    Attributes:
        key: name of the storage in the file.
        dtype: number format.
        count: how many numbers.
    """

    key: str
    dtype: torch.dtype
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor within its storage.

    Attributes:
        repeated: bytes of the tensor beyond those of its storage; a stride of 0 repeats an element.
    """

    repeated: int


@dataclass(frozen=True, slots=True)
class NumberType:
    """A number format of NumPy.

    Attributes:
        code: such as f8.
    """

    code: str

    @property
    def nbytes(self) -> int:
        """Bytes of a number."""
        return int(self.code[1:])

    def require_state(self, state: Any) -> None:
        """Refuse attributes other than those of a plain number format."""
        match state:
            case Group(kind="tuple", items=[3, "<" | "|" | "=", None, None, None, -1, -1, 0]):
                return
        raise MoreThanTensorsError("a number format of NumPy that is no plain one")


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function, by module and name with a space between."""

    name: str


@dataclass(slots=True)
class Group:
    """A list, tuple, dict or set.

    Attributes:
        kind: which of these.
        items: its values; of a dict keys and values in turn.
        size: number of values in the group and below it, each counted as often as the pickle refers to it.
        depth: number of levels below the group.
        shared: the pickle refers to the group again; no value is added then, so that no group contains itself.
    """

    kind: str
    items: list[Any] = field(default_factory=list)
    size: int = 1
    depth: int = 0
    shared: bool = False

    def add(self, items: Iterable[Any]) -> Group:
        """Add values.

        Raises:
            PickleError: there are too many values or levels, or the group is shared.
        """
        if self.shared:
            raise PickleError(f"a {self.kind} in it grows after the pickle referred to it")
        for item in items:
            self.items.append(item)
            self.size += item.size if isinstance(item, Group) else 1
            self.depth = max(self.depth, item.depth + 1 if isinstance(item, Group) else 0)
        if self.size > MOST_VALUES:
            raise PickleError(f"it describes more than {MOST_VALUES} values")
        if self.depth > DEEPEST:
            raise PickleError(f"its values are nested more than {DEEPEST} levels deep")
        return self


def shortened(value: object) -> str:
    """Return the beginning of a text whose length the file chose."""
    return f"{value!s:.100}"


def named(name: str) -> Named:
    """Return a mark for a class or function; refuse a name that is not known to be harmless."""
    module, _, attribute = name.partition(" ")
    is_dtype = module == "torch" and isinstance(vars(torch).get(attribute), torch.dtype)
    if not (is_dtype or name in _CALLS or name in _STORAGES or name in _KINDS_OF_TENSOR):
        raise MoreThanTensorsError(shortened(name.replace(" ", ".")))
    return Named(name)


def called(function: Any, arguments: Any) -> Any:
    """Return a mark for the result of a known function, without calling the function."""
    name = function.name if isinstance(function, Named) else type(function).__name__
    if name not in _CALLS or not isinstance(arguments, Group) or arguments.kind != "tuple":
        raise MoreThanTensorsError(f"a call of {shortened(name)}")
    try:
        return _CALLS[name](*arguments.items)
    except TypeError as error:  # another number of arguments
        raise MoreThanTensorsError(f"a call of {shortened(name)} with odd arguments") from error


def paired(items: list[Any]) -> list[Any]:
    """Return a dict's keys and values in turn; keys must be plain, since hashing nested tuples may never end."""
    if len(items) % _PAIR:
        raise PickleError("its pickle is damaged: a key without value")
    for key in items[::2]:
        _require_plain(key)
    return items


def storage_of(description: Any) -> Storage:
    """Return the storage that a pickle refers to."""
    values = description.items if isinstance(description, Group) and description.kind == "tuple" else []
    if len(values) == _BEFORE_1_6 and values[-1] is None:
        values = values[:-1]
    match values:
        case ["storage", Named(name=name), str(key), str(), int(count)] if name in _STORAGES and _is_count(
            count
        ):
            return Storage(key, _STORAGES[name], count)
    raise MoreThanTensorsError("a reference to something else than a storage of numbers")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _counts(group: Any) -> tuple[int, ...]:
    counts = _items(group, "tuple")
    if not all(map(_is_count, counts)):
        raise MoreThanTensorsError("a size or stride that is no tuple of counts")
    return tuple(counts)


def _items(group: Any, kind: str) -> list[Any]:
    if not isinstance(group, Group) or group.kind != kind:
        raise MoreThanTensorsError(f"an argument that is no {kind}")
    return group.items


def _require_plain(value: Any) -> None:
    if not isinstance(value, str | bytes | int | float | None):
        raise MoreThanTensorsError("a key that is no text or number")


def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    more: Any = None,
) -> Tensor:
    """Check that a tensor lies within its storage; PyTorch would enlarge the storage otherwise."""
    if more is not None:
        raise MoreThanTensorsError("a tensor that is conjugated, negated or has attributes")
    _require_bare(requires_grad, hooks)
    sizes, strides = _counts(size), _counts(stride)
    if not isinstance(storage, Storage) or not _is_count(offset) or len(sizes) != len(strides):
        raise MoreThanTensorsError("a tensor without storage, size or stride")
    numel = math.prod(sizes)
    steps = zip(sizes, strides, strict=True)
    end = offset + 1 + sum((length - 1) * step for length, step in steps) if numel else 0
    if end > storage.count:
        raise PickleError(
            f"a tensor of shape {shortened(sizes)} ends at element {shortened(end)} of a storage of {storage.count}"
        )
    return Tensor(max(0, numel * storage.dtype.itemsize - storage.nbytes))


def _tensor_of_kind(function: Any, kind: Any, arguments: Any, attributes: Any) -> Tensor:
    """Check a tensor with attributes, such as MONAI's MetaTensor; an attribute of another name could hide a method."""
    if not isinstance(kind, Named) or kind.name not in _KINDS_OF_TENSOR:
        raise MoreThanTensorsError("a tensor of an unknown kind")
    unknown = [name for name in _items(attributes, "dict")[::2] if name not in _ATTRIBUTES_OF_TENSOR]
    if unknown:
        raise MoreThanTensorsError(f"a tensor with the attribute {shortened(unknown[0])}")
    tensor = called(function, arguments)
    if not isinstance(tensor, Tensor):
        raise MoreThanTensorsError("a tensor of something else")
    return tensor


def _key(text: Any) -> str:
    if not isinstance(text, str):
        raise MoreThanTensorsError("a key of metadata that is no text")
    return text


def _parameter(tensor: Any, requires_grad: Any, hooks: Any) -> Tensor:
    _require_bare(requires_grad, hooks)
    if not isinstance(tensor, Tensor):
        raise MoreThanTensorsError("a parameter that is no tensor")
    return tensor


def _require_bare(requires_grad: Any, hooks: Any) -> None:
    if not isinstance(requires_grad, bool) or (hooks is not None and _items(hooks, "dict")):
        raise MoreThanTensorsError("a tensor with hooks")


def _ordered_dict(pairs: Any = None) -> Group:
    both = [] if pairs is None else [_items(pair, "list") for pair in _items(pairs, "list")]
    if any(len(pair) != _PAIR for pair in both):
        raise MoreThanTensorsError("an ordered dict of something else than pairs")
    return Group("dict").add(paired(list(chain.from_iterable(both))))


def _counter(counts: Any) -> Group:
    return Group("dict").add(_items(counts, "dict"))


def _set(members: Any) -> Group:
    for member in _items(members, "list"):
        _require_plain(member)
    return Group("set").add(members.items)


def _bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise MoreThanTensorsError("an encoding of text")
    return text.encode("latin1")


def _size(sizes: Any) -> Group:
    return Group("tuple").add(_counts(sizes))


def _device(kind: Any, index: Any = 0) -> str:
    if not isinstance(kind, str) or not _is_count(index):
        raise MoreThanTensorsError("a device that is no name and number")
    return kind


def _number_type(code: Any, align: Any, copy: Any) -> NumberType:
    if code not in NUMBER_CODES or align is not False or copy is not True:
        raise MoreThanTensorsError("a number format of NumPy that is no plain one")
    return NumberType(code)


def _number(of: Any, content: Any) -> float:
    """Check a number of NumPy; nothing needs its value."""
    if not isinstance(of, NumberType) or not isinstance(content, bytes) or len(content) != of.nbytes:
        raise MoreThanTensorsError("a number of NumPy without a plain format or content")
    return 0.0


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._tensor _rebuild_from_type_v2": _tensor_of_kind,
    "monai.utils.enums MetaKeys": _key,
    "monai.utils.enums SpaceKeys": _key,
    "torch Size": _size,
    "torch device": _device,
    "collections OrderedDict": _ordered_dict,
    "collections Counter": _counter,
    "__builtin__ set": _set,
    "_codecs encode": _bytes,
    "numpy dtype": _number_type,
    "numpy._core.multiarray scalar": _number,
    "numpy.core.multiarray scalar": _number,  # of NumPy 1
}
