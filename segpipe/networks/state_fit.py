"""Compares a state dict with a network: names, shapes, number formats, tensors with two names, NaN."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from segpipe.errors import SegpipeError

COUNT_OF_BATCHES = "num_batches_tracked"
"""Name of a tensor in batch normalisation that files of PyTorch before 0.4.1, torchvision's among them, lack."""
_FLOATING = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_NUMBERS = _FLOATING | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_LONGEST_NAME = 100  # characters in a message; a file may have names of any length
_KEYS_SHOWN = 3
_COUNT_OF_AVERAGES = "n_averaged"  # torch.optim.swa_utils.AveragedModel adds this name to the network's names
_OTHER_BUNDLE = "use the bundle they were trained with"


def on_disk(state: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Return a state on the CPU, with each tensor in a memory block of its own size; shared tensors stay shared.

    MONAI's DynUNet has each of its layers under two names; separate copies would double the file.

    Args:
        state: state of a network.
        dtype: number format of floating-point tensors; None: unchanged.
    """
    converted: dict[tuple[Any, ...], torch.Tensor] = {}
    for tensor in state.values():
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        if memory_of(tensor) not in converted:
            copied = tensor.detach().to("cpu", wanted).contiguous()
            whole = copied.untyped_storage().nbytes() == copied.numel() * copied.element_size()
            converted[memory_of(tensor)] = copied if whole else copied.clone()
    return {name: converted[memory_of(tensor)] for name, tensor in state.items()}


def memory_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return a key that is equal for two names of one tensor, and differs for a view such as a transpose."""
    return (
        tensor.data_ptr() or id(tensor),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )  # a tensor without elements has no pointer


def require_finite(path: Path, tensors: Iterable[tuple[str, torch.Tensor]], remedy: str) -> None:
    """Refuse NaN and infinite weights, which make every score NaN; the arg max would still give a label map.

    Raises:
        SegpipeError: a weight is NaN or infinite.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise SegpipeError(
                f"{path}: {count} of {tensor.numel()} weights in {_short(name)} are NaN or infinite: {remedy}"
            )


def fitting_state(path: Path, state: Any, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of a file in the form that a network takes, after checking that it fits.

    A common prefix of all names is removed: `module.` of DataParallel, `_orig_mod.` of `torch.compile`, `model.` of
    Lightning. If a count of batches is absent or not a number, the network's value is used: inference does not use
    these counts, and PyTorch before 0.4.1 did not write them.

    Args:
        path: of the file, for messages.
        state: content of the file. If a tensor has two names in the network, one of them is enough.
        network: the network that the state must fit.

    Returns:
        name -> tensor, for every name in the network's `state_dict`.

    Raises:
        SegpipeError: the file holds no state dict; names, shapes or number formats differ; two names of one tensor
            have different values; or weights are NaN or infinite.
    """
    expected = network.state_dict()
    complete = _with_counts(_with_other_names(named_state(path, state, expected), expected), expected)
    _require_same_tensors(path, complete, expected)
    # checked in the network's number format: 1e300 is infinite in float32
    held = ((name, tensor.to(expected[name].dtype)) for name, tensor in complete.items())
    require_finite(path, held, "its training diverged; train again")
    _require_one_value(path, complete, expected)
    return complete


def named_state(path: Path, state: Any, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state of a file with plain tensors, and without a prefix that all its names have in common.

    Args:
        path: of the file, for messages.
        state: content of the file.
        expected: state of the network that takes some of its names.

    Raises:
        SegpipeError: the file holds no state dict.
    """
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise SegpipeError(
            f"{path}: is not a state_dict (a mapping from names to tensors){_keys(state)}; save network.state_dict()"
        )
    plain = {  # plain tensors: load_state_dict would compute the metadata of a MetaTensor too
        name: tensor if type(tensor) is torch.Tensor else tensor.as_subclass(torch.Tensor)
        for name, tensor in state.items()
    }
    return _without_prefix(plain, expected)


def _keys(state: Any) -> str:
    """Return the keys of a checkpoint, such as network and optimizer, for a message."""
    if not isinstance(state, Mapping) or not state:
        return ""
    names = [_short(str(name)) for name in state]
    return f"; it has the keys {', '.join(names[:_KEYS_SHOWN])}{', ...' * (len(names) > _KEYS_SHOWN)}"


def _without_prefix(
    state: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state without the prefix that a wrapper gave all its names; without such a prefix, the state itself."""
    names = {name: name for name in state if name != _COUNT_OF_AVERAGES}
    while names and not expected.keys() & names:
        if len({name.partition(".")[0] for name in names}) > 1 or not all("." in name for name in names):
            return state
        names = {name.partition(".")[2]: whole for name, whole in names.items()}
    return {name: state[whole] for name, whole in names.items()} if names else state


def _with_counts(
    state: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state with the counts of batches of the file, in the network's dtype; else with the network's counts."""
    counts = {}
    for name, fitting in expected.items():
        stored = state.get(name, fitting)
        if name.rpartition(".")[2] == COUNT_OF_BATCHES and stored.shape == fitting.shape:
            known = stored.dtype in _NUMBERS and bool(stored.isfinite().all())
            counts[name] = (stored if known else fitting).to("cpu", fitting.dtype)
    return {**state, **counts}


def _with_other_names(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state completed by tensors that it has under another name, as in `.safetensors` files."""
    there = {memory_of(expected[name]): tensor for name, tensor in state.items() if name in expected}
    missing = {name: there.get(memory_of(tensor)) for name, tensor in expected.items() if name not in state}
    return {**state, **{name: tensor for name, tensor in missing.items() if tensor is not None}}


def _require_same_tensors(
    path: Path, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    names = list(dict.fromkeys([*expected, *state]))
    other = [name for name in names if not _alike(state.get(name), expected.get(name))]
    if other:
        first = other[0]
        shown = _described(state.get(first), expected.get(first))
        raise SegpipeError(
            f"{path}: weights of another network: {len(other)} of {len(names)} tensors differ, first "
            f"{_short(first)}: {shown[0]} in the file, {shown[1]} in the network; {_OTHER_BUNDLE}"
        )


def _alike(stored: torch.Tensor | None, fitting: torch.Tensor | None) -> bool:
    if stored is None or fitting is None:
        return False
    same_kind = stored.dtype == fitting.dtype or (fitting.is_floating_point() and stored.dtype in _FLOATING)
    return stored.shape == fitting.shape and same_kind and stored.layout == fitting.layout


def _described(stored: torch.Tensor | None, fitting: torch.Tensor | None) -> list[str]:
    same_shape = stored is not None and fitting is not None and stored.shape == fitting.shape
    return [
        "absent"
        if tensor is None
        else f"{tuple(tensor.shape)}{f' of {tensor.dtype}'.replace('torch.', '') if same_shape else ''}"
        for tensor in (stored, fitting)
    ]


def _require_one_value(
    path: Path, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    """Refuse a state in which two names of one tensor have different values: the used value would be chance."""
    names = defaultdict(list)
    for name, tensor in expected.items():
        names[memory_of(tensor)].append(name)
    for first, *others in names.values():
        for other in others:
            one, two = state[first], state[other]
            if memory_of(one) != memory_of(two) and not torch.equal(one, two.to(one.dtype)):
                raise SegpipeError(
                    f"{path}: {first} and {other} are one tensor in the network, and differ in the file; "
                    f"{_OTHER_BUNDLE}"
                )


def _short(name: str) -> str:
    return name[:_LONGEST_NAME]
