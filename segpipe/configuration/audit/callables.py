"""The classes and functions that a bundle may call without the user's consent, each with the arguments that are safe.

The list names single callables, never whole packages: `torch` also holds `torch.hub.load`, which runs code from the
internet. A callable is on the list only if no number, word, list or object from the same list makes it import a module,
open an address, evaluate a text, or read or write a file. Where an argument could do so, the list says which values of
this argument are safe.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any


class Place(Enum):
    """The place where a path in an argument may lie."""

    WRITTEN = "a folder or file that is written"
    READ = "a file that is read, of weights or of labels"
    ANYWHERE = "scans, or the list of them"
    NAME = "a part of a file's name"


REFUSED = frozenset[str]()
"""Marks an argument that may have no value at all."""


@dataclass(frozen=True)
class Allowed:
    """The arguments that may be given to a callable.

    Attributes:
        arguments: name -> a `Place`, or the safe words; arguments without an entry take any plain value.
        only: the arguments that may be given; None: any argument.
        is_called: an expression may call the object that the callable returns, as in `$@loader(@evaluator)`.
    """

    arguments: Mapping[str, Place | frozenset[str]] = field(default_factory=dict)
    only: frozenset[str] | None = None
    is_called: bool = False


_PLAIN = Allowed()
_READERS = frozenset(
    f"{name}reader" for name in ("nibabel", "itk", "pil", "nrrd", "pydicom", "numpy")
)  # compared in lower case
_WRITERS = frozenset(f"{name}writer" for name in ("nibabel", "itk", "pil"))
_IMAGES = frozenset({".nii.gz", ".nii", ".nrrd", ".mha", ".png", "nii.gz", "nii", "nrrd", "mha", "png"})
_METRICS = (
    "key_metric",
    "key_train_metric",
    "key_val_metric",
    "additional_metrics",
)  # they become names of files
_ENGINE = Allowed({"compile": REFUSED, "compile_kwargs": REFUSED, **dict.fromkeys(_METRICS, Place.NAME)})
_LOADED_IMAGE = Allowed(
    {"reader": _READERS},
    frozenset(
        {
            *("keys", "reader", "dtype", "meta_keys", "meta_key_postfix", "overwriting", "image_only"),
            *("ensure_channel_first", "simple_keys", "prune_meta_pattern", "prune_meta_sep", "expanduser"),
            *("allow_missing_keys",),
        }
    ),
)
_SAVED_IMAGE = Allowed(
    {
        "output_dir": Place.WRITTEN,
        "output_postfix": Place.NAME,
        "output_ext": _IMAGES,
        "output_format": _IMAGES,
        "data_root_dir": frozenset({""}),  # with another folder than the scans', outputs leave output_dir
        "writer": _WRITERS,
        "output_name_formatter": REFUSED,
        "folder_layout": REFUSED,
    }
)
_SAVED_CHECKPOINT = Allowed(
    {
        "save_dir": Place.WRITTEN,
        **dict.fromkeys(("save_dict", "file_prefix", "final_filename", "key_metric_filename"), Place.NAME),
    }
)
_TENSORBOARD = Allowed({"log_dir": Place.WRITTEN, "summary_writer": REFUSED})
_PRETRAINED = Allowed({"pretrained": REFUSED})

_CALLABLES: dict[str, dict[str, Allowed]] = {
    "segpipe.bundle": {
        **dict.fromkeys(
            (
                *(
                    "RunLoader",
                    "case_draws",
                    "check_configuration",
                    "check_device",
                    "check_sizes",
                    "check_window",
                ),
                *("class_weights", "identity", "join_process_group", "leave_process_group", "load_cases"),
                *("image_draws", "image_weights", "local_device", "make", "parameter_groups", "peak_rates"),
                *("run_engine", "share_batch_norms", "start_run"),
            ),
            _PLAIN,
        ),
        "TrainingCases": Allowed({"manifest": Place.ANYWHERE, "dataset_dir": Place.ANYWHERE}),
        "ImageCases": Allowed({"manifest": Place.ANYWHERE, "dataset_dir": Place.ANYWHERE}),
        "calibration": Allowed({"weights": Place.READ}),
        "categories": Allowed({"metadata": Place.READ}),
        "image_weights_to_score": Allowed({"weights": Place.READ}),
        "images_to_classify": Allowed({"dataset_dir": Place.ANYWHERE, "output_dir": Place.WRITTEN}),
        "inference_cases": Allowed({"dataset_dir": Place.ANYWHERE, "output_dir": Place.WRITTEN}),
        "label_table": Allowed({"metadata": Place.READ}),
        "start_from": Allowed({"weights": frozenset({"imagenet", "none"})}),  # a path is for the user to give
        "start_from_vgg16": Allowed({"weights": Place.READ}),
        "start_from_weights": Allowed({"weights": Place.READ}),
        "weights_to_score": Allowed({"weights": Place.READ}),
        "with_weights": Allowed({"weights": Place.READ}),
    },
    "segpipe.dataset.loading": dict.fromkeys(("CaseDataset", "EpochSampler", "ShareSampler"), _PLAIN),
    "segpipe.dataset.sampling": dict.fromkeys(("BalancedSampler",), _PLAIN),
    "segpipe.evaluation": {
        "ClassificationScores": Allowed({"folder": Place.WRITTEN}),
        "ScoreTable": Allowed({"folder": Place.WRITTEN}),
    },
    "segpipe.inference": {
        **dict.fromkeys(
            (
                *("EvenSliceInferer", "EvenWindowInferer", "FlipInferer", "LogProgress"),
                *("PrecisionInferer", "SliceInferer", "needs_loss_scaling"),
            ),
            _PLAIN,
        ),
        "PredictionTable": Allowed({"output_dir": Place.WRITTEN}),
    },
    "segpipe.losses": dict.fromkeys(
        ("DeepSupervision", "DiceCrossEntropy", "RegionDiceCrossEntropy", "WeightedBinaryCrossEntropy"),
        _PLAIN,
    ),
    "segpipe.networks": dict.fromkeys(
        (
            *(
                "EfficientNetLite0",
                "PlainConvUNet",
                "ResidualEncoderUNet",
                "SegNet",
                "TileClassifier",
                "UNet",
            ),
            "VGG16Classifier",
        ),
        _PLAIN,
    ),
    "segpipe.training": {
        **dict.fromkeys(
            (
                *("PresentDice", "SaveBest", "TrainingScalars", "TrainingState", "Validate"),
                *("ValidationPictures", "ValidationScalars", "cycle_steps", "warm_up"),
                *("ImageScore", "ImageTrainingScalars", "ImageValidationPictures", "ImageValidationScalars"),
                *("SaveCalibration", "Tracking", "Unfreeze"),
            ),
            _PLAIN,
        ),
        "RunFolder": Allowed({"output_dir": Place.WRITTEN}),
    },
    "segpipe.transforms": {
        **dict.fromkeys(
            (
                *("CTIntensityd", "CTKindd", "LabelIndicesd", "LoadVolumed", "NormalizeSlicesd"),
                *("CropNonzerod", "NormalizeChannelsd", "ReorderAxesd", "SplineSpacingd"),
                *("CalibratedProbabilitiesd", "LoadPictured"),
                *("OrientVolumesd", "RegionsToClassesd", "RemoveSmallPiecesd"),
                *("RandColorJitterd", "RandResizedCropd", "ResizeShorterSided"),
            ),
            _PLAIN,
        ),
        "SaveImageLabelMapd": Allowed({"output_dir": Place.WRITTEN}),
    },
    "monai.transforms": {
        **dict.fromkeys(
            (
                *("Compose", "OneOf", "Activationsd", "AsDiscreted", "BorderPadd", "CastToTyped"),
                *("CenterScaleCropd", "CenterSpatialCropd", "ClassesToIndicesd", "ClipIntensityPercentilesd"),
                *("ConcatItemsd", "ConvertToMultiChannelBasedOnBratsClassesd", "CopyItemsd"),
                *("CropForegroundd", "DeleteItemsd", "DistanceTransformEDTd", "DivisiblePadd"),
                *("EnsureChannelFirstd", "EnsureType", "EnsureTyped", "FgBgToIndicesd", "FillHolesd"),
                *("FlattenSubKeysd", "Flipd", "FromMetaTensord", "GaussianSharpend", "GaussianSmoothd"),
                *("HistogramNormalized", "Identityd", "Invertd", "KeepLargestConnectedComponentd"),
                *("LabelFilterd", "LabelToContourd", "MapLabelValued", "MaskIntensityd", "MeanEnsembled"),
                *("MedianSmoothd", "NormalizeIntensityd", "Orientationd", "Rand2DElasticd"),
                *("Rand3DElasticd", "RandAdjustContrastd", "RandAffined", "RandAxisFlipd"),
                *("RandBiasFieldd", "RandCoarseDropoutd", "RandCropByLabelClassesd"),
                *("RandCropByPosNegLabeld", "RandFlipd", "RandGaussianNoised", "RandGaussianSharpend"),
                *("RandGaussianSmoothd", "RandGibbsNoised", "RandGridDistortiond", "RandHistogramShiftd"),
                *("RandKSpaceSpikeNoised", "RandRicianNoised", "RandRotate90d", "RandRotated"),
                *("RandScaleCropd", "RandScaleIntensityFixedMeand", "RandScaleIntensityd"),
                *("RandShiftIntensityd", "RandSimulateLowResolutiond", "RandSmoothDeformd"),
                *("RandSmoothFieldAdjustContrastd", "RandSmoothFieldAdjustIntensityd"),
                *("RandSpatialCropSamplesd", "RandSpatialCropd", "RandStdShiftIntensityd"),
                *("RandWeightedCropd", "RandZoomd", "RemoveSmallObjectsd", "RepeatChanneld"),
                *("ResampleToMatchd", "ResizeWithPadOrCropd", "Resized", "Rotate90d", "Rotated"),
                *("ScaleIntensity", "ScaleIntensityRange", "ScaleIntensityRangePercentilesd"),
                *("ScaleIntensityRanged", "ScaleIntensityd", "SelectItemsd", "ShiftIntensityd"),
                *("SpatialCropd", "SpatialPadd", "SpatialResampled", "Spacingd", "SplitDimd", "SqueezeDimd"),
                *("StdShiftIntensityd", "ThresholdIntensityd", "ToDeviced", "ToMetaTensord", "ToNumpyd"),
                *("ToTensord", "Transpose", "Transposed", "VoteEnsembled", "Zoomd"),
            ),
            _PLAIN,
        ),
        "LoadImage": _LOADED_IMAGE,
        "LoadImaged": _LOADED_IMAGE,
        "SaveImage": _SAVED_IMAGE,
        "SaveImaged": _SAVED_IMAGE,
    },
    "monai.networks.nets": {
        **dict.fromkeys(
            (
                *("AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DynUNet", "HighResNet", "SegResNet"),
                *("SwinUNETR", "UNETR", "UNet", "VNet"),
            ),
            _PLAIN,
        ),
        **dict.fromkeys(("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264"), _PRETRAINED),
    },
    "monai.losses": dict.fromkeys(
        (
            *("DeepSupervisionLoss", "DiceCELoss", "DiceFocalLoss", "DiceLoss", "FocalLoss"),
            *("GeneralizedDiceFocalLoss", "GeneralizedDiceLoss", "HausdorffDTLoss", "TverskyLoss"),
        ),
        _PLAIN,
    ),
    "monai.inferers": dict.fromkeys(
        ("SimpleInferer", "SliceInferer", "SlidingWindowInferer", "SlidingWindowInfererAdapt"), _PLAIN
    ),
    "monai.metrics": dict.fromkeys(
        ("DiceMetric", "HausdorffDistanceMetric", "LossMetric", "MeanIoU", "SurfaceDiceMetric"), _PLAIN
    ),
    "monai.optimizers": dict.fromkeys(("Novograd", "WarmupCosineSchedule"), _PLAIN),
    "monai.data": dict.fromkeys(
        ("CacheDataset", "DataLoader", "Dataset", "DistributedSampler", "ThreadDataLoader"), _PLAIN
    ),
    "monai.handlers": {
        **dict.fromkeys(
            (
                *("ConfusionMatrix", "EarlyStopHandler", "HausdorffDistance", "IgniteMetricHandler"),
                *("LrScheduleHandler", "MeanDice", "MeanIoUHandler", "PostProcessing", "ROCAUC"),
                *("SurfaceDistance", "ValidationHandler"),
            ),
            _PLAIN,
        ),
        "StatsHandler": Allowed({"key_var_format": REFUSED}),
        "CheckpointLoader": Allowed({"load_path": Place.READ}, is_called=True),
        "CheckpointSaver": _SAVED_CHECKPOINT,
        "MetricsSaver": Allowed({"save_dir": Place.WRITTEN}),
        "TensorBoardImageHandler": _TENSORBOARD,
        "TensorBoardStatsHandler": _TENSORBOARD,
    },
    "monai.engines": dict.fromkeys(
        ("EnsembleEvaluator", "SupervisedEvaluator", "SupervisedTrainer"), _ENGINE
    ),
    "monai.utils": dict.fromkeys(("set_determinism",), _PLAIN),
    "ignite.metrics": dict.fromkeys(("Accuracy",), _PLAIN),
    "torch": dict.fromkeys(("device",), _PLAIN),
    "torch.nn": dict.fromkeys(
        ("BCEWithLogitsLoss", "CrossEntropyLoss", "L1Loss", "MSELoss", "NLLLoss"), _PLAIN
    ),
    "torch.nn.parallel": dict.fromkeys(("DistributedDataParallel",), _PLAIN),
    "torch.optim": dict.fromkeys(("Adam", "AdamW", "SGD"), _PLAIN),
    "torch.optim.lr_scheduler": dict.fromkeys(
        (
            *("ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LinearLR"),
            *("OneCycleLR", "PolynomialLR", "StepLR"),
        ),
        _PLAIN,
    ),
}


@cache
def _allowed(name: str) -> list[tuple[Any, Allowed]]:
    """Return the callables on the list with this name, and the arguments that may be given to each."""
    return [
        (getattr(importlib.import_module(module), name), callables[name])
        for module, callables in _CALLABLES.items()
        if name in callables
    ]


def allowed_arguments(target: Any) -> Allowed | None:
    """Return the arguments that may be given to a class or function; None if it is not on the list.

    Args:
        target: the class or function itself, so that all its dotted paths give the same answer.
    """
    name = getattr(target, "__name__", None)
    known = _allowed(name) if isinstance(name, str) else []
    return next((allowed for callable_, allowed in known if callable_ is target), None)


def listed_callables() -> list[str]:
    """Return the dotted names of all callables on the list, sorted."""
    return sorted(f"{module}.{name}" for module, callables in _CALLABLES.items() for name in callables)
