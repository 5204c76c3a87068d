"""MONAI Deploy's own operator on bundles, for `tests/integration/test_embedding.py`; in an environment of its own.

Reads a list of jobs as JSON from standard input, and writes a list of results to the file that the argument names.
A job has `bundle` (a folder or a TorchScript file), `scan` (an array as .npy) and `affine` (voxel to RAS), or `series`.
"""

import json
import sys
import traceback
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).with_name("standins")))  # only for what is not installed

from monai.deploy.core import Fragment, Image, IOType
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator


class Context:
    """An application's context without a model of its own: the operator loads the bundle that its path names."""

    models = None


class Ports:
    """The operator's input and output in memory."""

    def __init__(self, given):
        self.given, self.result = given, None

    def receive(self, name):
        return self.given

    def get(self, name):
        raise KeyError(name)

    def emit(self, value, name):
        self.result = value


def image_of(job):
    if "series" not in job:
        affine = np.array(job["affine"])
        return Image(np.load(job["scan"]), {"original_affine": affine, "affine": affine, "spacing": 1})
    fragment = Fragment()
    studies = DICOMDataLoaderOperator(fragment, name="load").load_data_to_studies(Path(job["series"]))
    selected = DICOMSeriesSelectorOperator(fragment, name="select").filter(None, studies)
    return DICOMSeriesToVolumeOperator(fragment, name="volume").convert_to_image(selected)


def infer(job):
    types = Image, Image
    operator = MonaiBundleInferenceOperator(
        Fragment(),
        app_context=Context(),
        input_mapping=[IOMapping("image", types[0], IOType.IN_MEMORY)],
        output_mapping=[IOMapping("pred", types[1], IOType.IN_MEMORY)],
        bundle_path=job["bundle"],
        name="infer",
    )
    ports = Ports(image_of(job))
    operator.compute(ports, ports, None)
    if isinstance(ports.result, dict):
        return {"probabilities": ports.result["probabilities"].tolist()}
    np.save(job["output"], ports.result.asnumpy())
    return {"array": job["output"]}


def main():
    results = []
    for job in json.load(sys.stdin):
        try:
            results.append(infer(job))
        except BaseException as error:  # a SystemExit here is what the test looks for
            traceback.print_exc()
            results.append({"error": type(error).__name__, "text": str(error)})
    Path(sys.argv[1]).write_text(json.dumps(results, default=str))


main()
