"""MONAI Label's own classes on bundles, for `tests/integration/test_embedding.py`; runs in an environment of its own.

Reads a list of jobs as JSON from standard input, and writes a list of results to the file that the argument names.
A job has `bundle` and either `scan`, for inference, or `train` with records, and `epochs` and `val_split`.
"""

import json
import shutil
import sys
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("standins")))  # only for what is not installed

from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask


class Datastore:
    """The one method of MONAI Label's datastore that its training calls."""

    def __init__(self, records):
        self.records = records

    def datalist(self):
        return self.records


def infer(job):
    task = BundleInferTask(job["bundle"], {}, type=job.get("type", ""))
    assert task.is_valid()
    written, answer = task({"image": job["scan"], "device": "cpu"})
    if not isinstance(written, str):
        return {"answer": answer}
    return {"file": shutil.move(written, job["output"])}


def train(job):
    task = BundleTrainTask(job["bundle"], {})
    assert task.is_valid()
    request = {"model": Path(job["bundle"]).name, "max_epochs": job["epochs"], "device": "cpu"}
    return {"returned": task({**request, "val_split": job["val_split"]}, Datastore(job["train"]))}


def main():
    results = []
    for job in json.load(sys.stdin):
        try:
            results.append(train(job) if "train" in job else infer(job))
        except BaseException as error:  # a SystemExit here is what the test looks for
            traceback.print_exc()
            results.append({"error": type(error).__name__, "text": str(error)})
    Path(sys.argv[1]).write_text(json.dumps(results, default=str))


main()
