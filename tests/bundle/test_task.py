"""The task of a bundle, from the words of its metadata."""

import json

import pytest

from segpipe.bundle.task import task_in, task_of
from segpipe.errors import SegpipeError


def metadata(*outputs, task="Some organ"):
    named = {f"output_{place}": dict(output) for place, output in enumerate(outputs)}
    return {"task": task, "network_data_format": {"outputs": named}}


def output(kind, form, **more):
    return {"type": kind, "format": form, **more}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([output("image", "segmentation")], "segmentation"),
        ([output("image", "labels", num_channels=3, spatial_shape=[96, 96, 96])], "segmentation"),
        ([output("probability", "segmentation"), output("probability", "regression")], "segmentation"),
        ([output("probabilities", "classes")], "classification"),
        ([output("probability", "classification")], "classification"),
        ([output("image", "labels", num_channels=4, spatial_shape=[1, 4])], "classification"),
        ([], "segmentation"),
    ],
)
def test_outputs_show_the_task(outputs, expected):
    assert task_in(metadata(*outputs)) == expected


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_the_tasks_own_word_counts_more_than_the_outputs(task):
    assert task_in(metadata(output("object", "dict"), task=task)) == task


@pytest.mark.parametrize(
    "broken", [{}, {"network_data_format": 1}, {"network_data_format": {"outputs": [1]}}]
)
def test_without_outputs_it_is_segmentation(broken):
    assert task_in(broken) == "segmentation"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (output("object", "dict"), "a set of boxes (detection)"),
        (output("tuples", "points"), "a set of points (landmarks)"),
        (output("feature", "image"), "an image"),
        (output("image", "magnitude"), "an image"),
    ],
)
def test_other_outputs_are_refused(given, expected, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata(given, task="CT lung nodules")))

    with pytest.raises(SegpipeError) as refusal:
        task_of(tmp_path)

    assert str(refusal.value) == (
        f"{tmp_path}: is no bundle for segmentation or classification: by its metadata.json the network's output is "
        f"{expected} (task: 'CT lung nodules'); use MONAI's own run"
    )
