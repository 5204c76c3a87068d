"""An evaluator's scores equal the files of `segpipe evaluate` to the last digit."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from segpipe.errors import SegpipeError
from segpipe.evaluation import ScoreTable
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.comparison import compare
from segpipe.evaluation.metrics import CaseMetrics
from segpipe.evaluation.score_table import ReferencedCase
from segpipe.evaluation.scored_cases import Pair
from segpipe.evaluation.scoring import score_pairs
from segpipe.evaluation.summary import read_summary, summarise, write_scores
from segpipe.labels import LabelTable
from segpipe.volumes import Grid, read_volume, write_label_map, write_volume

TABLE = LabelTable.from_rows(
    {"index": index, "name": name, "color": [index, 0, 0], "value": index}
    for index, name in enumerate(["background", "liver", "tumour"])
)
STORED = {0: "background", 20: "tumour", 10: "liver"}  # by the references
PATIENTS = {"b": "p1", "a": "p1", "c": None}
SIZE = (11, 12, 9)


def affine(angle, noise):
    """Return an oblique affine of unequal spacing; `noise` is below the tolerance of equal grids."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([0.7, 0.9, 2.5]) * (1 + noise)
    return matrix


def balls(random):
    """Return a random map of two classes, each in one component."""
    voxels = np.indices(SIZE).T
    labels = np.zeros(SIZE, np.uint8)
    for index, radius in ((1, 4), (2, 2)):
        centre = random.uniform(3, 7, 3)
        labels[(np.linalg.norm(voxels - centre, axis=-1) < radius).T] = index
    return labels


@pytest.fixture(params=["volumes", "slices"])
def pairs(request, tmp_path):
    """Return `(case, scan, prediction, reference)` files of three cases."""
    random = np.random.default_rng(0)
    made = []
    for case in PATIENTS:
        prediction, reference = balls(random), balls(random)
        if case == "c":
            prediction[prediction == 2] = 0  # a class that is missed
        scan = random.normal(size=SIZE).astype(np.float32)
        of_scan, of_reference = (Grid.from_affine(SIZE, affine(0.3, noise)) for noise in (0, 1e-6))
        suffix = ".nii.gz"
        if request.param == "slices":
            prediction, reference, scan = (volume[..., 4] for volume in (prediction, reference, scan))
            scan = (scan * 20 + 100).clip(0, 255).astype(np.uint8)
            of_scan = of_reference = Grid.from_affine(SIZE[:2], np.diag([-1.0, -1.0, 1.0, 1.0]))
            suffix = ".png"
        files = [tmp_path / name / f"{case}{suffix}" for name in ("scans", "predictions", "references")]
        write_volume(scan, of_scan, files[0])
        write_label_map(prediction, of_scan, files[1])
        write_label_map(np.array([0, 10, 20], np.uint8)[reference], of_reference, files[2])
        made.append((case, *files))
    return made


def one_hot(path, stored):
    """Return a label map's one-hot classes, `(C, ...)`, with the scan's affine, as a transform chain returns them."""
    volume = read_volume(path)
    indices = TABLE.to_indices(volume.array, stored)
    channels = np.stack([indices == index for index in range(TABLE.num_classes)]).astype(np.float32)
    return MetaTensor(torch.from_numpy(channels), affine=torch.eye(4))


def evaluated(pairs, folder, order=(0, 1, 2), **options):
    """Run an evaluator on label maps from files, and return its output folder."""
    cases = [ReferencedCase(case, PATIENTS[case], scan, reference) for case, scan, _, reference in pairs]
    table = ScoreTable(folder, TABLE, {"part": "fold 0", "warnings": ["one"]}, cases, **options)

    def step(engine, position):
        case, _, prediction, reference = pairs[position]
        engine.state.batch = [{"case": case}]
        return [{"pred": one_hot(prediction, None), "label": one_hot(reference, STORED)}]

    engine = Engine(step)
    table.attach(engine)
    engine.run(list(order), max_epochs=1)
    return folder


def scored(pairs, folder, **options):
    """Score the same files by `segpipe evaluate`, and return the output folder."""
    scores = score_pairs(
        [
            Pair(case, PATIENTS[case] or case, prediction, reference)
            for case, _, prediction, reference in pairs
        ],
        TABLE,
        STORED,
        knows_patients=True,
        reasons={},
        **options,
    )
    write_scores(scores, summarise(scores), folder, {})
    return folder


@pytest.mark.parametrize("options", [{}, {"tolerance_mm": 0.5}], ids=["1 mm", "0.5 mm"])
def test_scores_are_those_of_segpipe_evaluate_to_the_last_digit(pairs, tmp_path, options):
    """The loaded reference has the scan's affine; the affine of the reference's file decides the score."""
    ours = evaluated(pairs, tmp_path / "run", **options)
    theirs = scored(pairs, tmp_path / "command", **options)

    assert (ours / "metrics.csv").read_bytes() == (theirs / "metrics.csv").read_bytes()
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (ours, theirs)]
    assert {**summaries[0], "about": None} == {**summaries[1], "about": None}
    assert summaries[0]["pooled"]["accuracy"] < 1


@pytest.mark.parametrize("pairs", ["volumes"], indirect=True)
def test_the_affine_of_the_scan_would_give_other_digits(pairs, tmp_path):
    distances = []
    for column in (1, 3):  # the scan, the reference
        _, _, prediction, reference = pairs[0]
        maps = [read_volume(path).array for path in (prediction, reference)]
        metrics = CaseMetrics.of(maps[0], maps[1] // 10, 3, read_volume(pairs[0][column]).grid.affine[:3, :3])
        distances.append(metrics.hd95_mm)

    np.testing.assert_allclose(*distances, rtol=1e-5)
    assert (distances[0] != distances[1]).all()


@pytest.mark.parametrize("pairs", ["volumes"], indirect=True)
def test_both_folders_can_be_compared(pairs, tmp_path):
    folders = evaluated(pairs, tmp_path / "run"), scored(pairs, tmp_path / "command")

    result = compare(*map(CaseScores.read, folders))

    assert result.cases == ("a", "b", "c")
    assert result.patients == ("p1", "p1", "c")
    assert {
        difference.interval.mean
        for by_metric in result.differences.values()
        for difference in by_metric.values()
    } <= {0.0}
    assert read_summary(folders[0])["references_sha256"] == read_summary(folders[1])["references_sha256"]


@pytest.mark.parametrize("pairs", ["volumes"], indirect=True)
def test_warnings_of_cases_follow_those_of_the_run(pairs, tmp_path):
    about = read_summary(evaluated(pairs, tmp_path / "run"))["about"]

    assert about["part"] == "fold 0"
    assert about["warnings"] == [
        "one",
        "The patient of 1 of 3 cases is not known: each of these cases counts as one patient.",
    ]


@pytest.mark.parametrize("pairs", ["volumes"], indirect=True)
@pytest.mark.parametrize("order", [(0, 1), (0, 1, 2, 2)], ids=["one less", "one twice"])
def test_an_evaluator_that_does_not_come_to_every_case_once_is_refused(pairs, tmp_path, order):
    with pytest.raises(
        SegpipeError, match=f"run: {len(order)} label maps were scored for 3 cases; an evaluation runs in"
    ):
        evaluated(pairs, tmp_path / "run", order)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [{"metric": "val_mean_dice", "cases": [SimpleNamespace(case="a")]}, {}],
    ids=["metric", "no cases"],
)
def test_arguments_of_an_earlier_segpipe_are_refused_with_the_lines_to_write(tmp_path, arguments):
    with pytest.raises(
        SegpipeError, match=r'write cases: "\$@scored_weights.cases" below ScoreTable, and delete metric'
    ):
        ScoreTable(tmp_path, TABLE, {}, **arguments)
