"""A bundle that classifies dozens of small images in seconds, and images for it, broken images too.

Two convolutions with random weights: tests with it are about files and numbers, not about the classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
import yaml
from monai.bundle import ConfigParser
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from segpipe.calibration import Calibration, calibration_path
from segpipe.categories import Categories
from segpipe.files import file_sha256, write_json
from segpipe.networks import save_weights

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Mass", "Edema", "Hernia"), "findings")
INPUT = (16, 16)
INFERENCE: dict[str, Any] = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "dataset_dir": "/path/to/images",
    "output_dir": "$@bundle_root + '/predictions'",
    "weights": ["$@bundle_root + '/models/model.pt'"],
    "overwrite": False,
    "device": "$torch.device('cpu')",
    "precision": "float32",  # auto would be timed
    "heatmap_layer": "features.4",
    "labels": {
        "_target_": "segpipe.bundle.categories",
        "metadata": "$@bundle_root + '/configs/metadata.json'",
    },
    "calibration": {"_target_": "segpipe.bundle.calibration", "weights": "@weights", "labels": "@labels"},
    "cases": {
        "_target_": "segpipe.bundle.images_to_classify",
        "dataset_dir": "@dataset_dir",
        "output_dir": "@output_dir",
        "overwrite": "@overwrite",
    },
    "network": {
        "_target_": "segpipe.bundle.with_weights",
        "network": "$@network_def.to(@device)",
        "weights": "@weights",
        "identity": "@identity",
    },
    "identity": {"_target_": "segpipe.bundle.identity", "network": "@network_def", "labels": "@labels"},
    "load_transforms": [{"_target_": "segpipe.transforms.LoadPictured", "keys": "image"}],
    "deterministic_transforms": [
        {
            "_target_": "monai.transforms.Resized",
            "keys": "image",
            "spatial_size": list(INPUT),
            "mode": "bilinear",
        },
        {
            "_target_": "monai.transforms.NormalizeIntensityd",
            "keys": "image",
            "subtrahend": [0.485, 0.456, 0.406],
            "divisor": [0.229, 0.224, 0.225],
            "channel_wise": True,
        },
    ],
    "preprocessing": {
        "_target_": "monai.transforms.Compose",
        "transforms": "$@load_transforms + @deterministic_transforms",
    },
    "dataset": {
        "_target_": "segpipe.dataset.loading.CaseDataset",
        "data": "@cases",
        "transform": "@preprocessing",
        "cache": False,
    },
    "dataloader": {
        "_target_": "segpipe.bundle.RunLoader",
        "dataset": "@dataset",
        "batch_size": 4,
        "num_workers": 0,
    },
    "inferer": {
        "_target_": "segpipe.inference.PrecisionInferer",
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "precision": "@precision",
    },
    "postprocessing": {
        "_target_": "monai.transforms.Compose",
        "transforms": [
            {
                "_target_": "segpipe.transforms.CalibratedProbabilitiesd",
                "keys": "pred",
                "calibration": "@calibration",
            }
        ],
    },
    "handlers": [
        {"_target_": "segpipe.inference.LogProgress"},
        {
            "_target_": "segpipe.inference.PredictionTable",
            "output_dir": "@output_dir",
            "labels": "@labels",
            "calibration": "@calibration",
        },
    ],
    "evaluator": {
        "_target_": "monai.engines.SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    },
    "initialize": [],
    "run": [{"_target_": "segpipe.bundle.run_engine", "engine": "@evaluator"}],
}


def write_classifier(
    folder: Path, categories: Categories = CLASSES, seed: int = 0, *, calibrated: bool = True, **changes: Any
) -> Path:
    """Write the bundle with weights of a seed; `changes` apply to its inference.yaml."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    content = {**INFERENCE, "network_def": _network_def(categories.num), **changes}
    (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    write_json(folder / "configs" / "metadata.json", metadata_of(categories))
    weights = write_classifier_weights(folder, folder / "models" / "model.pt", seed)
    if calibrated:
        write_calibration(weights, categories)
    return folder


def _network_def(outputs: int) -> dict[str, Any]:
    return {
        "_target_": "segpipe.networks.TileClassifier",
        "num_classes": outputs,
        "in_channels": 3,
        "tile_size": list(INPUT),
        "stages": [[6], [8]],
    }


def metadata_of(categories: Categories) -> dict[str, Any]:
    """Return the bundle's metadata."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "OCT",
        "num_channels": 3,
        "spatial_shape": list(INPUT),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": "red", "1": "green", "2": "blue"},
    }
    outputs = {
        "type": "probabilities",
        "format": "classes",
        "num_channels": categories.num,
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(categories.names)},
    }
    return {
        "version": "0.1.0",
        "monai_version": "1.6.1",
        "name": "tiny classifier",
        "task": "classification",
        **categories.to_metadata(),
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": outputs}},
    }


def write_classifier_weights(bundle: Path, path: Path, seed: int) -> Path:
    """Write random weights that fit the bundle, with their sidecar."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    save_weights(path, network, parser.get_parsed_content("identity"), {})
    return path


def write_calibration(weights: Path, categories: Categories, temperature: float = 2.0) -> Path:
    """Write a calibration of the weights; findings are decided from 0.4."""
    count = 1 if categories.exclusive else categories.num
    made = Calibration(
        categories.names, categories.target, (temperature,) * count, (0.0,) * count, (0.4,) * categories.num
    )
    path = calibration_path(weights)
    made.of_weights([file_sha256(weights)]).write(path)
    return path


def grey_image(seed: int = 0, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """Return 8-bit noise, `(rows, columns)`."""
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (20, 24)) -> Path:
    """Write an image of noise, different for every seed, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey_image(seed, size)).save(path)
    return path


def write_images(folder: Path, count: int, suffix: str = ".png") -> Path:
    """Write `image_000`, `image_001` and so on."""
    for index in range(count):
        write_image(folder / f"image_{index:03d}{suffix}", index)
    return folder


def write_x_ray(path: Path, pixels: np.ndarray, photometric: str = "MONOCHROME2") -> Path:
    """Write a digital X-ray as one DICOM file.

    Args:
        path: of the file.
        pixels: 8 bit, `(rows, columns)`.
        photometric: PhotometricInterpretation.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID = generate_uid(), generate_uid()
    file.Modality, file.PatientID, file.PhotometricInterpretation = "DX", "p", photometric
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.BitsAllocated, file.BitsStored = 1, 8, 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = pixels.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path
