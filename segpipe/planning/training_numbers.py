"""Rules 8 and 11 of a plan: the loss and the schedule of a training."""

from __future__ import annotations

from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.network_form import CARD_TIMES
from segpipe.planning.plans import Architecture, PlannedValue, PlanOptions

_COMMON_TIMES = 5.0
_PATCHES = {2: 6500, 3: 2240}
_FEWEST_A_EPOCH, _VALIDATIONS = 64, 10


def schedule_numbers(
    data: Fingerprint, options: PlanOptions, network: Architecture
) -> dict[str, PlannedValue]:
    """Return the numbers of epochs, learning rate and validations (rule 11)."""
    cases = max(round(data.cases * options.training_share), 1)
    repeats = max(_FEWEST_A_EPOCH // cases, 1)
    patches = _PATCHES[network.dims] * (CARD_TIMES if options.cuda else 1)
    epochs = options.epochs or max(round(patches / (cases * repeats)), 1)
    total = f"{epochs * cases * repeats:,} patches of {cases} cases"
    peak = 3.0e-3 if network.name in ("DynUNet", "ResidualEncoderUNet") and network.dims == 3 else 1.0e-3
    kind = {2: "of slices", 3: "of volumes"}[network.dims]
    whose = kind if network.name == "ResidualEncoderUNet" else "with this network"
    return {
        "epochs": PlannedValue(
            epochs, f"as asked for: {total}" if options.epochs else f"{total}, as in the shipped bundles"
        ),
        "patches_per_case": PlannedValue(repeats, f"in an epoch, {cases * repeats} patches in all"),
        "learning_rate": PlannedValue(peak, f"the peak of one cycle; as in the shipped bundles {whose}"),
        "warm_up_share": PlannedValue(0.2, "share of all steps"),
        "weight_decay": PlannedValue(1.0e-4, "AdamW's; as in the shipped bundles"),
        "val_interval": PlannedValue(max(epochs // _VALIDATIONS, 1), "epochs; ten validations or so"),
        "patience": PlannedValue(0, "0: a cycle is of use only when it ends"),
    }


def loss_numbers(data: Fingerprint, *, by_class: bool) -> dict[str, PlannedValue]:
    """Return the weights of the loss (rule 8).

    Args:
        data: the fingerprint.
        by_class: whether a patch is drawn around a voxel of one class, so that it may lack another class.
    """
    present = [one for one in data.classes[1:] if one.cases]
    shares = [one.share for one in present]
    rarest = min(one.cases for one in present) / data.cases
    lacking = rarest < 1 or by_class
    numbers = {
        "dice_weight": PlannedValue(
            3.0, f"one class is in {rarest:.0%} of the cases: with less the network never learns it"
        )
        if rarest < 0.5
        else PlannedValue(
            1.0,
            f"weight of the Dice loss beside the cross-entropy; the rarest class is in {rarest:.0%} of the cases",
        ),
        "batch_dice": PlannedValue(
            lacking, "a patch may lack a class" if lacking else "every patch has every class"
        ),
    }
    is_weighted = max(shares) > _COMMON_TIMES * min(shares) and len(present) == len(data.classes) - 1
    if is_weighted and not data.regions:
        times = max(shares) / min(shares)
        numbers["weight_power"] = PlannedValue(
            0.5, f"exponent of the class weights: one class has {times:.0f} times another's voxels"
        )
    return numbers
