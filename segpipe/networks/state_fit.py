"""A state dict beside the network that it is for: names, shapes, kinds of numbers, tensors of two names, NaN."""

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
_LONGEST_NAME = 100  # a file can name its tensors at any length
_KEYS_SHOWN = 3
_COUNT_OF_AVERAGES = "n_averaged"  # of torch.optim.swa_utils.AveragedModel, beside the network's own names
_OTHER_BUNDLE = "use the bundle they were trained with"


def on_disk(state: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Return a state on the CPU, each tensor the whole of its memory; one tensor of two names stays one.

    MONAI's DynUNet has each of its layers under two names; converted apart they would be stored twice.

    Args:
        state: of a network.
        dtype: of floating-point tensors; None keeps theirs.
    """
    converted: dict[tuple[Any, ...], torch.Tensor] = {}
    for tensor in state.values():
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        if memory_of(tensor) not in converted:
            own = tensor.detach().to("cpu", wanted).contiguous()
            whole = own.untyped_storage().nbytes() == own.numel() * own.element_size()
            converted[memory_of(tensor)] = own if whole else own.clone()
    return {name: converted[memory_of(tensor)] for name, tensor in state.items()}


def memory_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what two names of one tensor have in common and views of it (a transpose) have not."""
    return (
        tensor.data_ptr() or id(tensor),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )  # no memory, no pointer


def require_finite(path: Path, tensors: Iterable[tuple[str, torch.Tensor]], remedy: str) -> None:
    """Refuse weights that make every score NaN: the arg max turns those into a label map all the same.

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
    """Return the state of a file as a network takes it, once it is known to fit.

    A prefix that all names have is left out: `module.` of DataParallel, `_orig_mod.` of `torch.compile`, `model.` of
    Lightning. The network's own value stands for a count of batches that is absent, or no number. Inference does not
    use these counts, and PyTorch before 0.4.1 did not write them.

    Args:
        path: of the file, for messages.
        state: what the file holds. Of a tensor with two names in the network, one name is enough.
        network: with the state that is expected.

    Returns:
        name -> tensor, for every name in the network's `state_dict`.

    Raises:
        SegpipeError: no state dict, other names, shapes or kinds of numbers, two names of one tensor with different
            values, or NaN or infinite weights.
    """
    expected = network.state_dict()
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise SegpipeError(
            f"{path}: is not a state_dict (a mapping from names to tensors){_keys(state)}; save network.state_dict()"
        )
    plain = {  # load_state_dict would work out the metadata of a MetaTensor, too
        name: tensor if type(tensor) is torch.Tensor else tensor.as_subclass(torch.Tensor)
        for name, tensor in state.items()
    }
    complete = _with_counts(_with_other_names(_without_prefix(plain, expected), expected), expected)
    _require_same_tensors(path, complete, expected)
    # as the network holds them: 1e300 is infinite in float32
    held = ((name, tensor.to(expected[name].dtype)) for name, tensor in complete.items())
    require_finite(path, held, "its training diverged; train again")
    _require_one_value(path, complete, expected)
    return complete


def _keys(state: Any) -> str:
    """Return the keys of a checkpoint, such as network and optimizer, for a message."""
    if not isinstance(state, Mapping) or not state:
        return ""
    names = [_short(str(name)) for name in state]
    return f"; it has the keys {', '.join(names[:_KEYS_SHOWN])}{', ...' * (len(names) > _KEYS_SHOWN)}"


def _without_prefix(
    state: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state without the prefix that wrappers of a network give all its names, as it is if it has none."""
    names = {name: name for name in state if name != _COUNT_OF_AVERAGES}
    while names and not expected.keys() & names:
        if len({name.partition(".")[0] for name in names}) > 1 or not all("." in name for name in names):
            return state
        names = {name.partition(".")[2]: whole for name, whole in names.items()}
    return {name: state[whole] for name, whole in names.items()} if names else state


def _with_counts(
    state: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state whose counts of batches are those of the file, in the network's dtype, or the network's own."""
    counts = {}
    for name, own in expected.items():
        stored = state.get(name, own)
        if name.rpartition(".")[2] == COUNT_OF_BATCHES and stored.shape == own.shape:
            known = stored.dtype in _NUMBERS and bool(stored.isfinite().all())
            counts[name] = (stored if known else own).to("cpu", own.dtype)
    return {**state, **counts}


def _with_other_names(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state with the tensors that it has under another of their names, as `.safetensors` files do."""
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


def _alike(stored: torch.Tensor | None, own: torch.Tensor | None) -> bool:
    if stored is None or own is None:
        return False
    same_kind = stored.dtype == own.dtype or (own.is_floating_point() and stored.dtype in _FLOATING)
    return stored.shape == own.shape and same_kind and stored.layout == own.layout


def _described(stored: torch.Tensor | None, own: torch.Tensor | None) -> list[str]:
    same_shape = stored is not None and own is not None and stored.shape == own.shape
    return [
        "absent"
        if tensor is None
        else f"{tuple(tensor.shape)}{f' of {tensor.dtype}'.replace('torch.', '') if same_shape else ''}"
        for tensor in (stored, own)
    ]


def _require_one_value(
    path: Path, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    """Refuse a state in which two names of one tensor differ: which of them counts would be chance."""
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
