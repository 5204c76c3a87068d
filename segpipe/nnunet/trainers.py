"""The trainers of nnU-Net, and which of them build the network that the plans describe."""

from __future__ import annotations

from pathlib import Path

from segpipe.errors import SegpipeError

_EPOCHS = (1, 5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000)
_WITH_MIRRORS = {
    *(f"nnUNetTrainer_{count}epoch{'s' if count > 1 else ''}" for count in _EPOCHS),
    *(f"nnUNetTrainer_{count}epochs_NoMirroring" for count in (250, 2000, 4000, 8000)),
    *("nnUNetTrainer_DASegOrd0", "nnUNetTrainer_DASegOrd0_NoMirroring", "nnUNetTrainer_noDummy2DDA"),
    *("nnUNetTrainer_onlyMirror01", "nnUNetTrainer_onlyMirror01_1500ep", "nnUNetTrainer_onlyMirror01_DA5"),
    *("nnUNetTrainer_onlyMirror01_DASegOrd0", "nnUNetTrainer_warmup"),
    *("nnUNetTrainer_probabilisticOversampling", "nnUNetTrainer_probabilisticOversampling_010"),
    "nnUNetTrainer_probabilisticOversampling_033",
}
NETWORK_OF_PLANS = frozenset(
    {
        *("nnUNetTrainer", "nnUNetTrainerNoDA", "nnUNetTrainerNoMirroring", "nnUNetTrainerNoDeepSupervision"),
        *("nnUNetTrainerBenchmark_5epochs", "nnUNetTrainerBenchmark_5epochs_noDataLoading"),
        *("nnUNetTrainerDA5", "nnUNetTrainerDA5ord0", "nnUNetTrainerDA5Segord0", "nnUNetTrainerDA5_10epochs"),
        *("nnUNetTrainerAdan", "nnUNetTrainerAdan1en1", "nnUNetTrainerAdan1en3", "nnUNetTrainerAdan3en4"),
        *("nnUNetTrainerAdanCosAnneal", "nnUNetTrainerCosAnneal", "nnUNetTrainerAdam"),
        *("nnUNetTrainerAdam1en3", "nnUNetTrainerAdam3en4", "nnUNetTrainerVanillaAdam"),
        *("nnUNetTrainerVanillaAdam1en3", "nnUNetTrainerVanillaAdam3en4"),
        *("nnUNetTrainerDiceLoss", "nnUNetTrainerDiceCELoss_noSmooth", "nnUNetTrainerTopk10Loss"),
        *("nnUNetTrainerTopk10LossLS01", "nnUNetTrainerDiceTopK10Loss", "nnUNetTrainerCELoss"),
        "nnUNetTrainerCELoss_5epochs",
        *_WITH_MIRRORS,
    }
)
"""Trainers of nnU-Net 2.8 whose network is the plans' own."""


def require_network_of_plans(trainer: str, where: Path, *, as_planned: bool = False) -> None:
    """Refuse a trainer that may build another network than the plans describe.

    Args:
        trainer: class name of the trainer.
        where: path of the checkpoint, for messages.
        as_planned: whether the user says that a foreign trainer builds the plans' network.

    Raises:
        SegpipeError: the trainer is none of nnU-Net's, or is one that builds another network.
    """
    if trainer in NETWORK_OF_PLANS or as_planned:
        return
    raise SegpipeError(
        f"{where}: was trained by {trainer:.80}, which may build a network that the plans do not describe, or "
        "predict in its own way; if it changes neither, give --network-of-plans"
    )
