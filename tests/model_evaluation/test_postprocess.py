"""Postprocessing chosen with a small bundle, from held-out cases to label maps that MONAI and segpipe write alike."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from tiny_bundle import BUNDLES, SMALL, write_scan, write_weights

from segpipe import PredictOptions, predict
from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import Case, Manifest, Split, write_manifest
from segpipe.dataset.reports import content_sha256
from segpipe.documents import json_of
from segpipe.errors import SegpipeError
from segpipe.model_evaluation.label_map_steps import applied
from segpipe.model_evaluation.label_map_trials import LARGEST, LabelMapStep
from segpipe.model_evaluation.postprocess import TRIALS_FILE, PostprocessOptions, postprocess
from segpipe.model_evaluation.postprocessing_text import BEGIN, PostprocessingTexts
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Grid, read_volume, write_label_map

SIZE = (20, 20, 16)
GRID = Grid.from_affine(SIZE, np.eye(4))
CASES = [f"case_{number}" for number in range(7)]
EXACT = PredictOptions(precision="float32", overlays=False)
ELSEWHERE = {"elsewhere": "0" * 64}


def small_text(text):
    """Return a shipped inference.yaml with the numbers of a small network, its comments kept."""
    lines = []
    for line in text.splitlines():
        name = line.partition(":")[0]
        lines.append(f"{name}: {json.dumps(SMALL[name])}   # small" if name in SMALL else line)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle with comments, and a manifest whose references are the bundle's largest pieces of class 2."""
    folder = tmp_path_factory.mktemp("postprocess")
    root = folder / "bundle"
    shutil.copytree(BUNDLES / "mri_hippocampus_unet" / "configs", root / "configs")
    path = root / "configs" / "inference.yaml"
    path.write_text(small_text(path.read_text()))
    path.with_suffix(".json").write_text(json_of(path.read_text()))
    write_weights(root, root / "models" / "model.pt", 0, cases=ELSEWHERE, fold=0)
    rows = []
    for seed, case in enumerate(CASES):
        write_scan(folder / "data" / f"{case}.nii.gz", seed, SIZE)
        rows.append(Case(case, (f"{case}.nii.gz",), f"truth/{case}.nii.gz", patient=case, fold=0))
    predict(folder / "data", root, folder / "raw", options=EXACT)
    for case in CASES:
        labels = read_volume(folder / "raw" / f"{case}.nii.gz").array
        truth = applied(labels, GRID, [LabelMapStep(LARGEST, 2)]).astype(np.uint8)
        write_label_map(truth, GRID, folder / "data" / "truth" / f"{case}.nii.gz")
    values = {0: "background", 1: "anterior", 2: "posterior"}
    rows.append(Case("other", ("other.nii.gz",), "truth/other.nii.gz", patient="other", fold=1))
    split = Split(train=("other",), validation=tuple(CASES), about="of the paper")
    manifest = Manifest(
        "noise", ("MRI",), values, tuple(rows), splits={"paper": split}, dataset_dir=str(folder / "data")
    )
    write_manifest(manifest, folder / "noise.json")
    return folder


def run(made, root, weights=(), **options):
    return postprocess(
        BundleSource(root, weights=weights),
        str(made / "noise.json"),
        made / "out",
        PostprocessOptions(precision="float32", **options),
    )


@pytest.fixture(scope="module")
def chosen(made):
    """A copy of the bundle with the steps that gain, and the result; the page takes longer than all other steps."""
    root = shutil.copytree(made / "bundle", made / "chosen")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("segpipe.model_evaluation.evaluate.write_report", lambda *_: None)
        return root, run(made, root, volumes=[1.0])


@pytest.fixture
def bundle(made, tmp_path):
    return shutil.copytree(made / "bundle", tmp_path / "bundle")


def texts(root):
    return {path.name: path.read_text() for path in sorted((root / "configs").iterdir())}


def test_steps_that_gain_are_written_and_every_other_line_stays(chosen, made):
    before, after, result = texts(made / "bundle"), texts(chosen[0]), chosen[1]

    assert [(trial.step.kind, trial.step.index) for trial in result.choice.kept] == [(LARGEST, 2)]
    assert [path.name for path in result.written] == ["inference.yaml", "evaluate.yaml", "inference.json"]
    assert json.loads(after["inference.json"]) == yaml.safe_load(after["inference.yaml"])
    for name, text in before.items():
        if name == "inference.json":
            continue
        lines, new = text.splitlines(), after[name].splitlines()
        added = len(new) - len(lines)
        assert (added > 0) == (name in {"inference.yaml", "evaluate.yaml"})
        start = next((number for number, line in enumerate(new) if line.strip() == BEGIN), 0)
        assert new[:start] + new[start + added :] == lines
    steps = yaml.safe_load(after["inference.yaml"])["postprocessing"]["transforms"]
    assert steps[-2:] == [
        {
            "_target_": "monai.transforms.KeepLargestConnectedComponentd",
            "keys": "pred",
            "applied_labels": [2],
        },
        yaml.safe_load(before["inference.yaml"])["postprocessing"]["transforms"][-1],
    ]
    assert "# chosen on fold 0 of noise: 7 cases, 7 patients" in after["inference.yaml"]
    assert "# keep the largest piece, posterior: Dice +0." in after["inference.yaml"]
    rows = (made / "out" / TRIALS_FILE).read_text().splitlines()
    assert len(rows) == 1 + len(result.choice.trials)


def test_streamed_label_maps_equal_those_of_monais_chain(chosen, made):
    opened = open_bundle(chosen[0])
    segmenter = Segmenter(opened, "float32")
    image = segmenter.prepare(opened.read(made / "data" / "case_0.nii.gz"))

    streamed = segmenter.segment(image, GRID)
    of_monai = segmenter._by_monai(image, GRID, "asked").labels

    assert streamed.fallback is None
    assert streamed.labels.dtype == np.uint8
    np.testing.assert_array_equal(streamed.labels, of_monai)
    truth = read_volume(made / "data" / "truth" / "case_0.nii.gz").array
    np.testing.assert_array_equal(streamed.labels, truth)


def test_the_evaluation_cleans_label_maps_as_the_inference_does(chosen, made):
    """The steps of evaluate.yaml turn one-hot maps into the label map of inference.yaml, one-hot again."""
    labels = open_bundle(chosen[0]).labels
    configuration = yaml.safe_load((chosen[0] / "configs" / "evaluate.yaml").read_text())
    steps = configuration["validate#postprocessing"]["transforms"]
    place = next(number for number, step in enumerate(steps) if step["keys"] == ["pred", "label"])
    chain = ConfigParser({"labels": labels, "steps": steps[place + 1 :]}).get_parsed_content("steps")
    raw = read_volume(made / "raw" / "case_0.nii.gz").array
    record = {"pred": one_hot(raw)}

    for step in chain:
        record = step(record)

    truth = read_volume(made / "data" / "truth" / "case_0.nii.gz").array
    assert not np.array_equal(raw, truth)
    assert len(record["pred"]) == 3
    np.testing.assert_array_equal(record["pred"].argmax(0), truth)


def one_hot(labels):
    scores = torch.as_tensor(np.stack([labels == index for index in range(3)]).astype(np.float32))
    return MetaTensor(scores, affine=np.eye(4))


def test_lines_that_end_as_in_windows_stay(chosen, bundle):
    path = bundle / "configs" / "inference.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    labels = open_bundle(chosen[0]).labels
    written = PostprocessingTexts(bundle).with_steps(chosen[1].choice, labels, "noise")[path]

    assert written.count("\n") == written.count("\r\n") > path.read_text().count("\n")
    assert yaml.safe_load(written)["postprocessing"]["transforms"][-2]["applied_labels"] == [2]


@pytest.mark.parametrize(
    "last",
    [
        [
            "    - _target_: segpipe.transforms.RegionsToClassesd",
            "      keys: pred",
            '      labels: "@labels"',
        ],
        ["    - _target_: monai.transforms.AsDiscreted", "      keys: pred", "      argmax: true"],
    ],
    ids=["regions", "index map"],
)
def test_steps_follow_a_map_of_class_indices_directly(chosen, bundle, last):
    """Bundles of regions, and of labels with ignored voxels, score a map of class indices."""
    path = bundle / "configs" / "evaluate.yaml"
    before, _, _ = path.read_text().partition("    - _target_: monai.transforms.AsDiscreted\n")
    path.write_text(before + "\n".join(last))

    labels = open_bundle(chosen[0]).labels
    written = PostprocessingTexts(bundle).with_steps(chosen[1].choice, labels, "noise")[path]

    steps = yaml.safe_load(written)["validate#postprocessing"]["transforms"]
    assert [step["_target_"] for step in steps[-2:]] == [
        last[0].partition(": ")[2],
        "monai.transforms.KeepLargestConnectedComponentd",
    ]


def test_steps_that_are_there_are_not_chosen_again_without_being_asked(chosen, made):
    with pytest.raises(
        SegpipeError, match="has written steps into its configuration already; give --replace"
    ):
        run(made, chosen[0])


@pytest.mark.slow
def test_a_choice_is_replaced_and_a_dry_run_writes_nothing(chosen, bundle, made):
    dry = run(made, bundle, dry_run=True, split="paper", volumes=[1.0])
    once = texts(chosen[0])

    again = run(made, chosen[0], replace=True, volumes=[1.0])

    assert dry.choice.cases == tuple(CASES)
    assert dry.choice.kept
    assert dry.written == []
    assert texts(bundle) == texts(made / "bundle")
    assert again.written == []
    assert texts(chosen[0]) == once


def weights_of(bundle, **training):
    return [write_weights(bundle, bundle / "other.pt", 0, **training)]


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"cases": ELSEWHERE, "fold": "all"}, "were trained on all cases, and none is held out"),
        ({}, "do not say which cases were held out"),
    ],
)
def test_weights_without_held_out_cases_are_refused(made, bundle, training, reason):
    with pytest.raises(SegpipeError, match=reason):
        run(made, bundle, weights=weights_of(bundle, **training))


def test_weights_that_were_trained_on_the_cases_are_refused(made, bundle):
    trained = {"case_0": content_sha256([read_volume(made / "data" / "case_0.nii.gz")])}

    with pytest.raises(SegpipeError, match="were trained on 1 of these 7 cases"):
        run(made, bundle, weights=weights_of(bundle, cases=trained, fold=0))


def test_weights_of_several_folds_are_refused(made, bundle):
    first = bundle / "models" / "model.pt"
    second = write_weights(bundle, bundle / "other.pt", 0, cases=ELSEWHERE, fold=1)

    with pytest.raises(SegpipeError, match=r"held out different folds \(0, 1\)"):
        run(made, bundle, weights=[first, second])


@pytest.mark.parametrize("volume", [0.0, -1.0, float("nan"), float("inf")])
def test_a_volume_must_be_above_0(made, bundle, volume):
    with pytest.raises(SegpipeError, match=r"--volume .*: must be above 0"):
        run(made, bundle, volumes=[volume])


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("evaluate.yaml", None, r"evaluate\.yaml: no such file"),
        ("inference.yaml", ("segpipe.transforms.SaveLabelMapd", "SaveImaged"), "must end with SaveLabelMapd"),
        (
            "inference.yaml",
            ("monai.transforms.AsDiscreted", "Lambdad"),
            "after AsDiscreted or RegionsToClassesd",
        ),
        ("evaluate.yaml", ("AsDiscreted", "Lambdad"), "must end with AsDiscreted or RegionsToClassesd"),
        ("evaluate.yaml", ("validate#postprocessing", "other"), "with a step a line"),
        ("inference.yaml", ("postprocessing:", "postprocessing: ["), "is no YAML"),
        ("inference.yaml", ("postprocessing:", f"{BEGIN}\npostprocessing:"), "must come in pairs"),
    ],
)
def test_a_bundle_without_a_place_for_steps_is_refused(made, bundle, name, change, reason):
    path = bundle / "configs" / name
    if change is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(*change))

    with pytest.raises(SegpipeError, match=reason):
        run(made, bundle)


def test_a_bundle_that_is_not_of_segpipe_is_refused(made, bundle):
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["label_table"]
    path.write_text(json.dumps(metadata))

    with pytest.raises(SegpipeError, match="has no label_table; give the metadata"):
        run(made, bundle)
