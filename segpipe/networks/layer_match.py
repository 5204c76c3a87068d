"""Matches the layers of a network with the weights of another network: taken, adapted or new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from segpipe.labels import same_name
from segpipe.networks.state_fit import COUNT_OF_BATCHES, memory_of

Action = Literal["taken", "adapted", "new"]
"""What a layer starts from: other weights as they are, weights computed from them, or random numbers."""

_HEADS = frozenset(  # attributes of networks that hold the layers with one output a class
    (
        *("output_block", "deep_supervision_heads", "logits", "classifier", "class_layers", "heads"),
        *("seg_layers", "final_conv", "conv_final", "out", "fc", "head"),
    )
)
_KERNEL_DIMS = 3  # tensors of convolutions have more dimensions than those of linear layers
_WEIGHT = "weight"
_BACKGROUND = "background"


@dataclass(frozen=True)
class LayerStart:
    """What one layer starts from.

    Attributes:
        layer: name of the module in the network.
        action: see `Action`.
        parameters: number of the layer's parameters.
        why: the reason in a few words; empty for a layer that is taken.
        is_head: whether the layer has one output a class.
        is_weighty: whether the layer has a kernel or matrix; a norm alone says nothing about a network.
    """

    layer: str
    action: Action
    parameters: int
    why: str
    is_head: bool
    is_weighty: bool


@dataclass(frozen=True)
class LayerMatch:
    """The start of a network from other weights.

    Attributes:
        state: complete state of the network; new layers have the network's own values.
        layers: one entry a layer, in the network's order.
    """

    state: Mapping[str, torch.Tensor]
    layers: tuple[LayerStart, ...]

    @property
    def fits(self) -> bool:
        """Whether a convolution or linear layer beside the heads is taken or adapted."""
        return any(one.is_weighty and not one.is_head and one.action != "new" for one in self.layers)


@dataclass(frozen=True)
class _Layer:
    """The tensors of one module by the last part of their names, each with all its names in the network."""

    name: str
    tensors: Mapping[str, torch.Tensor]
    names: Mapping[str, Sequence[str]]

    def stored(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors of this layer in other weights; fewer where tensors are missing there."""
        found = {}
        for part, names in self.names.items():
            name = next((name for name in names if name in state), None)
            if name is not None:
                found[part] = state[name]
        return found


def match_layers(
    network: torch.nn.Module,
    stored: Mapping[str, torch.Tensor],
    names_then: Sequence[str],
    names_now: Sequence[str],
) -> LayerMatch:
    """Match each layer of a network with the layer of the same name in other weights.

    - A layer with tensors of the same shapes is taken.
    - A first convolution of another number of input channels is adapted: each of its C channels gets the mean kernel of
      the former C' channels, times C' / C. On an image whose channels are all equal its output is the former output.
    - A head, a layer with one output a class, is matched by the names of the classes: an output whose class has a name
      of the former classes gets the former output. Where no class but the background has one, the head is new.
    - All other layers are new.

    Args:
        network: the network that starts; unchanged.
        stored: plain state of the other network, see `segpipe.networks.state_fit.named_state`.
        names_then: names of the former outputs, in their order; empty if not known.
        names_now: names of the network's outputs.
    """
    expected = network.state_dict()
    layers = _layers(expected)
    parameters = {name for name, _ in network.named_parameters()}
    entry = next((one for one in layers if _kernel(one.tensors)), None)
    entry_then = {} if entry is None else entry.stored(stored)
    channels = (
        (entry_then[_WEIGHT].shape[1], entry.tensors[_WEIGHT].shape[1])
        if entry is not None and _kernel(entry_then)
        else (0, 0)
    )
    state = dict(expected)
    starts = []
    last = next((one.name for one in reversed(layers) if _is_weighty(one.tensors)), "")
    for layer in layers:
        theirs = layer.stored(stored)
        is_head = _is_head(layer, last, len(names_now))
        if is_head:
            action, why, tensors = _head(layer, theirs, names_then, names_now)
        else:
            action, why, tensors = _inner(layer, theirs, channels)
        for part, tensor in tensors.items():
            for name in layer.names[part]:
                state[name] = tensor.to("cpu", expected[name].dtype)
        count = sum(
            tensor.numel() for part, tensor in layer.tensors.items() if parameters & {*layer.names[part]}
        )
        starts.append(LayerStart(layer.name, action, count, why, is_head, _is_weighty(layer.tensors)))
    return LayerMatch(state, tuple(starts))


def _layers(expected: Mapping[str, torch.Tensor]) -> list[_Layer]:
    """Return the layers in the network's order; a tensor with several names belongs to the layer of the first."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in expected.items():
        names.setdefault(memory_of(tensor), []).append(name)
    parts: dict[str, dict[str, list[str]]] = {}
    for first, *others in names.values():
        layer, _, part = first.rpartition(".")
        parts.setdefault(layer, {})[part] = [first, *others]
    return [
        _Layer(layer, {part: expected[named[0]] for part, named in of_layer.items()}, of_layer)
        for layer, of_layer in parts.items()
    ]


def _inner(
    layer: _Layer, theirs: Mapping[str, torch.Tensor], channels: tuple[int, int]
) -> tuple[Action, str, dict[str, torch.Tensor]]:
    """Match a layer that is no head; `channels`: of the images, then and now."""
    if not theirs:
        return "new", "not in the weights", {}
    other = [part for part in layer.tensors if not _alike(layer, theirs, part)]
    if not other:
        return "taken", "", dict(theirs)
    part = other[0]
    if other == [_WEIGHT] and _WEIGHT in theirs and _differs_in_channels(layer, theirs, channels):
        then, now = channels
        mean = theirs[_WEIGHT].float().mean(dim=1, keepdim=True) * (then / now)
        kernel = mean.expand_as(layer.tensors[_WEIGHT]).contiguous()
        return "adapted", f"mean of {then} input channel(s), for {now}", {**theirs, _WEIGHT: kernel}
    if part not in theirs:
        return "new", f"the weights have no {part}", {}
    if theirs[part].shape == layer.tensors[part].shape:
        return "new", f"{part} has another number format in the weights", {}
    return (
        "new",
        f"{part} is {_shape(theirs[part])} in the weights, {_shape(layer.tensors[part])} here",
        {},
    )


def _head(
    layer: _Layer, theirs: Mapping[str, torch.Tensor], names_then: Sequence[str], names_now: Sequence[str]
) -> tuple[Action, str, dict[str, torch.Tensor]]:
    """Match a head by the names of its classes."""
    if not theirs:
        return "new", "not in the weights", {}
    if not names_then:
        return "new", "the weights do not name their classes", {}
    for part, tensor in layer.tensors.items():
        if tensor.dim() and (part not in theirs or not _rows_fit(theirs[part], tensor, len(names_then))):
            then = _shape(theirs[part]) if part in theirs else "absent"
            return "new", f"{part} is {then} in the weights, {_shape(tensor)} here", {}
    places = {same_name(name): place for place, name in enumerate(names_then)}
    pairs = [
        (now, places[same_name(name)]) for now, name in enumerate(names_now) if same_name(name) in places
    ]
    matched = [names_now[now] for now, _ in pairs if same_name(names_now[now]) != _BACKGROUND]
    if not matched:
        return "new", f"no class has a name of the weights' classes: {', '.join(names_then)}", {}
    if len(names_then) == len(names_now) and pairs == [(place, place) for place in range(len(names_now))]:
        return "taken", "", dict(theirs)
    tensors = {}
    for part, tensor in layer.tensors.items():
        if not tensor.dim():
            continue
        rows = tensor.detach().cpu().clone()
        for now, then_place in pairs:
            rows[now] = theirs[part][then_place].to(rows.dtype)
        tensors[part] = rows
    lacking = [name for now, name in enumerate(names_now) if now not in dict(pairs)]
    new = f"; new: {', '.join(lacking)}" if lacking else ""
    return "adapted", f"by name: {', '.join(matched)}{new}", tensors


def _alike(layer: _Layer, theirs: Mapping[str, torch.Tensor], part: str) -> bool:
    """Return whether a tensor can be taken as it is; a missing count of batches keeps the network's value."""
    ours = layer.tensors[part]
    if part not in theirs:
        return part == COUNT_OF_BATCHES
    stored = theirs[part]
    same_kind = stored.is_floating_point() == ours.is_floating_point() and not stored.is_complex()
    return stored.shape == ours.shape and same_kind and stored.layout == ours.layout


def _differs_in_channels(
    layer: _Layer, theirs: Mapping[str, torch.Tensor], channels: tuple[int, int]
) -> bool:
    """Return whether a kernel takes the images' channels, and differs in their number alone."""
    then, now = theirs[_WEIGHT], layer.tensors[_WEIGHT]
    if then.dim() < _KERNEL_DIMS or then.dim() != now.dim() or not then.is_floating_point():
        return False
    rest = [axis for axis in range(then.dim()) if axis != 1]
    return (then.shape[1], now.shape[1]) == channels and all(
        then.shape[axis] == now.shape[axis] for axis in rest
    )


def _rows_fit(stored: torch.Tensor, ours: torch.Tensor, count: int) -> bool:
    return (
        stored.dim() == ours.dim()
        and stored.shape[0] == count
        and stored.shape[1:] == ours.shape[1:]
        and stored.is_floating_point() == ours.is_floating_point()
    )


def _is_head(layer: _Layer, last: str, count: int) -> bool:
    """Return whether a layer has one output a class: its name says so, or it is the network's last."""
    of_classes = all(tensor.shape[0] == count for tensor in layer.tensors.values() if tensor.dim())
    named = layer.name.partition(".")[0] in _HEADS
    return of_classes and count > 0 and (named or layer.name == last)


def _kernel(tensors: Mapping[str, torch.Tensor]) -> bool:
    return _WEIGHT in tensors and tensors[_WEIGHT].dim() >= _KERNEL_DIMS


def _is_weighty(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(tensor.dim() > 1 for tensor in tensors.values())


def _shape(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))
