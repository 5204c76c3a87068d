"""What nnU-Net's plans say of one configuration, as far as a prediction needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.errors import SegpipeError, shown

_RESAMPLES = "resample_data_or_seg_to_shape"
_READERS = {  # whether volumes are turned to RAS
    "SimpleITKIO": False,
    "NibabelIO": False,
    "SimpleITKIOWithReorient": True,
    "NibabelIOWithReorient": True,
}
_SCHEMES = {
    "ZScoreNormalization": "z-score",
    "CTNormalization": "ct",
    "RescaleTo01Normalization": "0 to 1",
    "RGBTo01Normalization": "rgb",
    "NoNormalization": "none",
}
_CT_NUMBERS = {"mean": "mean", "std": "std", "low": "percentile_00_5", "high": "percentile_99_5"}
_MOST_LEVELS = 32  # of configurations that inherit from each other
_VOLUME_DIMS = 3


@dataclass(frozen=True)
class Resampling:
    """How nnU-Net interpolates; see `segpipe.transforms.spline_spacing.SplineSpacingd`.

    Attributes:
        order, order_across: of the splines.
        by_slice: whether slices are interpolated one by one; None: by the spacing.
        thick: ratio of two spacings, from which on they are.
    """

    order: int
    order_across: int
    by_slice: bool | None
    thick: float


@dataclass(frozen=True)
class NnunetConfiguration:
    """A configuration of nnU-Net's plans.

    Attributes:
        name: such as 3d_fullres.
        dims: dimensions of the network, 2 or 3.
        window_size: voxels along each axis of the network.
        spacing_mm: of the network's input; None along the slices of a 2D network.
        axis_order: for each axis of the network's input, the axis of the scan; the slices of a 2D network come last.
        turns: whether scans are turned to RAS first.
        schemes: normalisation of each channel, for `segpipe.transforms.NormalizeChannelsd`.
        image, scores: how both are interpolated.
        network_class: class name of the network.
        network: its arguments.
    """

    name: str
    dims: int
    window_size: tuple[int, ...]
    spacing_mm: tuple[float | None, ...]
    axis_order: tuple[int, ...]
    turns: bool
    schemes: tuple[Mapping[str, Any], ...]
    image: Resampling
    scores: Resampling
    network_class: str
    network: Mapping[str, Any]


def configuration_of(plans: Mapping[str, Any], name: str, channels: int, where: Path) -> NnunetConfiguration:
    """Read a configuration of nnU-Net's plans.

    Args:
        plans: content of plans.json.
        name: of the configuration.
        channels: number of channels of a case.
        where: path of plans.json, for messages.

    Raises:
        SegpipeError: an entry is missing or of another kind; or the configuration needs what segpipe does not do: a
            cascade, another label manager, preprocessor, resampling, normalisation or reader of images.
    """
    entries = _inherited(plans, name, where)
    of_plans, of_name = _reader(plans, where, ""), _reader(entries, where, f"{name}: ")
    _require(plans.get("label_manager", "LabelManager"), ("LabelManager",), "label_manager", where)
    _require(of_name("preprocessor_name", str), ("DefaultPreprocessor",), "preprocessor_name", where)
    if entries.get("previous_stage"):
        raise SegpipeError(
            f"{where}: {name} is the second stage of a cascade, whose network also takes the labels of "
            f"{entries['previous_stage']}; import a configuration that stands alone, such as 3d_fullres or 3d_lowres"
        )
    reader = _require(of_plans("image_reader_writer", str), _READERS, "image_reader_writer", where)
    window, spacing = (tuple(of_name(key, list)) for key in ("patch_size", "spacing"))
    transposed = tuple(of_plans("transpose_forward", list))
    if sorted(transposed) != [0, 1, 2] or not 2 <= len(window) == len(spacing) <= _VOLUME_DIMS:
        raise SegpipeError(
            f"{where}: {name}: patch_size {list(window)}, spacing {list(spacing)} and transpose_forward "
            f"{list(transposed)} do not fit; give the plans that the model was trained with"
        )
    by_axis = [2 - axis for axis in transposed]  # nnU-Net counts the axes of a file backwards
    is_flat = len(window) < _VOLUME_DIMS
    image, scores = (_resampling(entries, kind, where) for kind in ("data", "probabilities"))
    if (image.by_slice, image.thick) != (scores.by_slice, scores.thick):
        raise SegpipeError(
            f"{where}: {name}: images and probabilities are cut into slices by other rules "
            f"({image.by_slice}, {image.thick} and {scores.by_slice}, {scores.thick}), which segpipe does not do"
        )
    network_class, network = _architecture(entries, len(window), where)
    return NnunetConfiguration(
        name,
        len(window),
        tuple(map(int, window)),
        tuple(map(float, spacing)) + ((None,) if is_flat else ()),
        (*by_axis[1:], by_axis[0]) if is_flat else tuple(by_axis),
        _READERS[reader],
        _schemes(entries, plans, channels, where),
        image,
        scores,
        network_class,
        network,
    )


def _inherited(plans: Mapping[str, Any], name: str, where: Path) -> dict[str, Any]:
    """Return the entries of a configuration, with those that it inherits."""
    configurations = plans.get("configurations")
    if not isinstance(configurations, Mapping):
        raise SegpipeError(f"{where}: has no configurations; give the plans that nnU-Net 2 writes")
    chain: list[Mapping[str, Any]] = []
    wanted: Any = name
    while wanted is not None:
        one = configurations.get(wanted)
        if not isinstance(one, Mapping):
            raise SegpipeError(
                f"{where}: has no configuration {wanted!r:.80}; its configurations are {shown(configurations)}"
            )
        if one in chain or len(chain) > _MOST_LEVELS:
            raise SegpipeError(f"{where}: {name} inherits from itself; correct inherits_from")
        chain.append(one)
        wanted = one.get("inherits_from")
    return {key: value for one in reversed(chain) for key, value in one.items()}


def _reader(entries: Mapping[str, Any], where: Path, place: str) -> Callable[[str, type], Any]:
    def read(key: str, kind: type) -> Any:
        value = entries.get(key)
        if not isinstance(value, kind):
            raise SegpipeError(
                f"{where}: {place}{key} is {value!r:.80}, must be a {kind.__name__}; give the plans that the model was "
                "trained with"
            )
        return value

    return read


def _require(value: Any, known: Sequence[str] | Mapping[str, Any], what: str, where: Path) -> str:
    if not isinstance(value, str) or value not in known:
        raise SegpipeError(
            f"{where}: {what} is {value!r:.80}, which segpipe does not do; it does {', '.join(known)}"
        )
    return value


def _resampling(entries: Mapping[str, Any], kind: str, where: Path) -> Resampling:
    read = _reader(entries, where, "")
    _require(read(f"resampling_fn_{kind}", str), (_RESAMPLES,), f"resampling_fn_{kind}", where)
    given = read(f"resampling_fn_{kind}_kwargs", dict)
    known = {"is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"}
    if given.get("is_seg") or set(given) - known:
        raise SegpipeError(
            f"{where}: resampling_fn_{kind}_kwargs is {given!r:.120}, which segpipe does not do; it does "
            f"{', '.join(sorted(known - {'is_seg'}))}"
        )
    by_slice = given.get("force_separate_z", False)
    return Resampling(
        int(given.get("order", 3)),
        int(given.get("order_z", 0)),
        by_slice if by_slice is None else bool(by_slice),
        float(given.get("separate_z_anisotropy_threshold", 3)),
    )


def _schemes(
    entries: Mapping[str, Any], plans: Mapping[str, Any], channels: int, where: Path
) -> tuple[Mapping[str, Any], ...]:
    read = _reader(entries, where, "")
    names, masked = read("normalization_schemes", list), read("use_mask_for_norm", list)
    if not len(names) == len(masked) == channels:
        raise SegpipeError(
            f"{where}: normalises {len(names)} channels, dataset.json names {channels}; give the files of one model"
        )
    numbers = plans.get(
        "foreground_intensity_properties_per_channel",
        plans.get("foreground_intensity_properties_by_modality", {}),
    )
    schemes: list[Mapping[str, Any]] = []
    for channel, (name, within) in enumerate(zip(names, masked, strict=True)):
        scheme = _SCHEMES[_require(name, _SCHEMES, "normalization_schemes", where)]
        further: dict[str, Any] = {}
        if scheme == "ct":
            own = numbers.get(str(channel), {}) if isinstance(numbers, Mapping) else {}
            try:
                further = {ours: float(own[theirs]) for ours, theirs in _CT_NUMBERS.items()}
            except (KeyError, TypeError, ValueError) as error:
                raise SegpipeError(
                    f"{where}: foreground_intensity_properties_per_channel lacks {', '.join(_CT_NUMBERS.values())} of "
                    f"channel {channel}, which CTNormalization needs; give the plans that the model was trained with"
                ) from error
        elif scheme == "z-score" and within:
            further = {"within_nonzero": True}
        schemes.append({"scheme": scheme, **further})
    return tuple(schemes)


def _architecture(entries: Mapping[str, Any], dims: int, where: Path) -> tuple[str, Mapping[str, Any]]:
    """Return class name and arguments of the network, from either form of the plans."""
    read = _reader(entries, where, "")
    if "architecture" in entries:
        described = read("architecture", dict)
        of_network = _reader(described, where, "architecture: ")
        return of_network("network_class_name", str).rpartition(".")[2], of_network("arch_kwargs", dict)
    convolutions = read("n_conv_per_stage_encoder", list)
    base, most = read("UNet_base_num_features", int), read("unet_max_num_features", int)
    name = read("UNet_class_name", str)
    return name, {
        "n_stages": len(convolutions),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(convolutions))],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": read("conv_kernel_sizes", list),
        "strides": read("pool_op_kernel_sizes", list),
        "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": convolutions,
        "n_conv_per_stage_decoder": read("n_conv_per_stage_decoder", list),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
