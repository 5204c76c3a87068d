"""`segpipe predict` turns options into arguments, refuses wrong values, and prints a summary at the end."""

import gc
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import segpipe.prediction.estimate
import segpipe.prediction.predict
from segpipe.bundle.source import BundleSource
from segpipe.cli import app
from segpipe.errors import SegpipeError
from segpipe.prediction.estimate import Estimate
from segpipe.prediction.options import Outcome, Prediction, PredictOptions
from segpipe.volumes import VolumeFormat

OPTIONS = {
    "--accuracy",
    "--batch-size",
    "--bundle",
    "--config",
    "--cores-per-worker",
    "--device",
    "--dicom-seg",
    "--dry-run",
    "--engine",
    "--entropy",
    "--format",
    "--frames",
    "--heatmaps",
    "--help",
    "--jobs",
    "--merge",
    "--mirror",
    "--no-locate",
    "--no-overlays",
    "--output",
    "--overlap",
    "--overlays",
    "--overwrite",
    "--part",
    "--precision",
    "--probabilities",
    "--regions",
    "--quiet",
    "--resample-channels",
    "--rtstruct",
    "--segment-codes",
    "--series-uid",
    "--set",
    "--skip-empty",
    "--strict",
    "--trust",
    "--weights",
    "--workers",
}


def run(*arguments, scans=("a.nii.gz",)):
    command = ["predict", *scans, "--bundle", "b", "--output", "out", *arguments]
    return CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.fixture(autouse=True)
def empty_bundle(tmp_path, monkeypatch):
    """Work beside an empty folder `b`: a bundle that is not there would be refused first."""
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def answer(monkeypatch):
    """Return a function that replaces `predict`, and returns the list of its calls."""

    def put(outcome=()):
        calls = []

        def predict(**arguments):
            calls.append(arguments)
            if isinstance(outcome, BaseException):
                raise outcome
            return list(outcome)

        monkeypatch.setattr(segpipe.prediction.predict, "predict", predict)
        return calls

    return put


@pytest.fixture
def predict_arguments(answer):
    """Return a function that runs the command, and returns the arguments of its call of `predict`."""

    def call(*arguments, **scans):
        calls = answer()
        result = run(*arguments, **scans)
        assert (result.exit_code, result.stderr) == (0, "")
        (keywords,) = calls
        return keywords

    return call


def test_without_options_the_bundles_settings_apply(predict_arguments):
    arguments = predict_arguments(scans=["a.nii.gz", "folder"])

    assert arguments.pop("watch")
    assert arguments.pop("report")
    assert arguments == {
        "scans": [Path("a.nii.gz"), Path("folder")],
        "bundle": BundleSource(Path("b")),
        "output": Path("out"),
        "options": PredictOptions(),
        "part": None,
        "workers": None,
    }


def test_every_option_reaches_the_call(predict_arguments):
    files = [
        "--weights",
        "w0.pt",
        "--weights",
        "w1.pt",
        "--config",
        "inference.yaml",
        "--config",
        "more.yaml",
    ]
    how = ["--trust", "--device", "cuda:1", "--precision", "float16", "--batch-size", "3", "--mirror", "2,0"]
    what = ["--skip-empty", "0.05", "--format", "mha", "--series-uid", "1.2.3", "--no-overlays"]

    arguments = predict_arguments(
        *files, *how, *what, "--entropy", "--probabilities", "--overwrite", "--jobs", "4", "-q"
    )

    assert arguments["bundle"] == BundleSource(
        Path("b"),
        weights=[Path("w0.pt"), Path("w1.pt")],
        configs=[Path("inference.yaml"), Path("more.yaml")],
        device="cuda:1",
        trust=True,
    )
    assert arguments["options"] == PredictOptions(
        precision="float16",
        batch_size=3,
        flips=(2, 0),
        skip_empty=0.05,
        format=VolumeFormat.MHA,
        series_uid="1.2.3",
        overlays=False,
        entropy=True,
        probabilities=True,
        overwrite=True,
        jobs=4,
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--dicom-seg",), {"dicom_seg": True}),
        (("--rtstruct",), {"rtstruct": True}),
        (("--dicom-seg", "--rtstruct"), {"dicom_seg": True, "rtstruct": True}),
        (
            ("--dicom-seg", "--segment-codes", "codes.csv"),
            {"dicom_seg": True, "segment_codes": Path("codes.csv")},
        ),
        (("--no-locate",), {"locate": False}),
    ],
    ids=str,
)
def test_options_without_a_value_reach_the_run(predict_arguments, options, expected):
    assert predict_arguments(*options)["options"] == PredictOptions(**expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--accuracy", "fast"), {"accuracy": "fast"}),
        (("--overlap", "0"), {"overlap": 0.0}),
        (("--overlap", "0.75", "--mirror", "1"), {"overlap": 0.75, "flips": (1,)}),
    ],
    ids=str,
)
def test_accuracy_is_a_name_or_its_numbers(predict_arguments, options, expected):
    assert predict_arguments(*options)["options"] == PredictOptions(**expected)


@pytest.mark.parametrize(
    ("text", "flips"), [("0", (0,)), ("0,1,2", (0, 1, 2)), ("2, 1", (2, 1)), ("none", ())]
)
def test_mirror_is_axes_or_none(predict_arguments, text, flips):
    """`none` differs from no option: without the option, the bundle's axes apply."""
    assert predict_arguments("--mirror", text)["options"].flips == flips


@pytest.mark.parametrize("suffix", ["nii.gz", ".nii.gz", "NII.GZ"])
def test_a_format_is_a_suffix(predict_arguments, suffix):
    assert predict_arguments("--format", suffix)["options"].format is VolumeFormat.NIFTI_GZ


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("intensity=hu", "intensity", "hu"),
        ("sw_batch_size=4", "sw_batch_size", 4),
        ("rate=1.0e-3", "rate", 0.001),
        ("roi_size=[64, 64, 32]", "roi_size", [64, 64, 32]),
        ("inferer#overlap=0.5", "inferer#overlap", 0.5),
        ("amp=false", "amp", False),
        ("weights=null", "weights", None),
        ("name=a=b", "name", "a=b"),
        ("name='4'", "name", "4"),
        ("window=@patch_size", "window", "@patch_size"),
        ("window=%train.yaml#patch_size", "window", "%train.yaml#patch_size"),
        ("window=$[x for x in @y] # {'a': 1}", "window", "$[x for x in @y] # {'a': 1}"),
    ],
)
def test_set_takes_yaml_and_monais_references(predict_arguments, text, name, value):
    overrides = predict_arguments("--set", text)["bundle"].overrides

    assert overrides == {name: value}
    assert type(overrides[name]) is type(value)


def test_set_can_come_several_times_and_the_last_of_an_id_counts(predict_arguments):
    assert predict_arguments("--set", "a=1", "--set", "b=2", "--set", "a=3")["bundle"].overrides == {
        "a": 3,
        "b": 2,
    }


REFUSED = [
    (["--mirror", "x"], "--mirror is 'x'; must be axes such as 0,1,2, or none"),
    (["--mirror", ""], "--mirror is ''; must be axes such as 0,1,2, or none"),
    (["--mirror", "0,,1"], "--mirror is '0,,1'; must be axes such as 0,1,2, or none"),
    (["--mirror", "0.5"], "--mirror is '0.5'; must be axes such as 0,1,2, or none"),
    (
        ["--mirror", "1,1"],
        "--mirror (flips in YAML) is [1, 1]; each must be an axis, from 0, and none may come twice",
    ),
    (
        ["--mirror", "-1"],
        "--mirror (flips in YAML) is [-1]; each must be an axis, from 0, and none may come twice",
    ),
    (["--set", "intensity"], "--set intensity: must be ID=VALUE, such as --set intensity=hu"),
    (["--set", "=hu"], "--set =hu: must be ID=VALUE, such as --set intensity=hu"),
    (["--set", "roi_size=[64, 64"], "--set roi_size=[64, 64: [64, 64 is no YAML: while parsing a flow"),
    (["--format", "dcm"], "suffix 'dcm': no known format; use one of .nii.gz, .nii, .mhd"),
    (["--format", "jpg"], "--format is JPEG: label maps are not written in it"),
    (["--precision", "fp16"], "precision 'fp16' is unknown; use auto or one of float32, bfloat16, float16"),
    (["--accuracy", "Best"], "--accuracy is 'Best', must be fast, standard, best"),
    (["--overlap", "1"], "--overlap (overlap in Python) is 1, must be from 0 to below 1"),
    (["--overlap", "nan"], "--overlap (overlap in Python) is nan, must be from 0 to below 1"),
    (
        ["--accuracy", "best", "--mirror", "none", "--overlap", "0.5"],
        "--accuracy best sets overlap and mirror images, and --overlap and --mirror would set them, too",
    ),
    (["--skip-empty", "1"], "--skip-empty (skip_empty in Python) is 1, must be from 0 to below 1"),
    (["--skip-empty", "-0.1"], "--skip-empty (skip_empty in Python) is -0.1, must be from 0 to below 1"),
    (["--skip-empty", "nan"], "--skip-empty (skip_empty in Python) is nan, must be from 0 to below 1"),
]


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry"])
@pytest.mark.parametrize(
    ("arguments", "message"), REFUSED, ids=[" ".join(arguments) for arguments, _ in REFUSED]
)
def test_a_value_that_means_nothing_is_refused_before_anything_is_done(arguments, message, dry_run, tmp_path):
    result = run(*arguments, *(["--dry-run"] if dry_run else []))

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"segpipe: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.rglob("*")) == [tmp_path / "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "many"], "--batch-size"),
        (["--jobs", "0"], "--jobs"),
        (["--skip-empty", "some"], "--skip-empty"),
        (["--mirrors", "0"], "--mirrors"),
    ],
)
def test_what_the_command_line_cannot_take_is_a_usage_error(answer, arguments, message):
    calls = answer()

    result = run(*arguments)

    assert (result.exit_code, result.stdout, calls) == (2, "", [])
    assert message in result.stderr


@pytest.mark.parametrize("missing", ["a.nii.gz", "--bundle", "--output"])
def test_scans_bundle_and_output_are_needed(answer, missing):
    calls = answer()
    required = {"a.nii.gz": ["a.nii.gz"], "--bundle": ["--bundle", "b"], "--output": ["--output", "out"]}

    arguments = [part for name, parts in required.items() if name != missing for part in parts]
    result = CliRunner().invoke(app, ["predict", *arguments])

    assert (result.exit_code, calls) == (2, [])


def test_help_names_every_option_and_no_other():
    result = CliRunner().invoke(app, ["predict", "--help"])

    assert result.exit_code == 0
    assert set(re.findall(r"(?<=\s)--[a-z][a-z-]*", result.stdout)) == OPTIONS
    assert "-q" in result.stdout


def prediction(case, outcome, reason=""):
    return Prediction(case, outcome, Path(f"/scans/{case}.nii.gz"), None, reason=reason)


def test_the_end_counts_what_was_done_and_names_what_was_kept(answer):
    answer(
        [
            prediction("a", Outcome.DONE, "by MONAI's own chain"),
            prediction("b", Outcome.KEPT, "was corrected by hand"),
            prediction("c", Outcome.SKIPPED),
            prediction("d", Outcome.DONE),
        ]
    )

    result = run()

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "4 scans: 2 done, 1 kept, 1 skipped",
        "b: was corrected by hand",
        "2 not compared with the training cases; `segpipe reference-ranges` measures these cases",
        "out: label maps, volumes.csv, predictions.jsonl, predict.log",
    ]


def shown(table):
    """Return the text of a table's columns, one after the other, without frame and line breaks."""
    cells = [re.split("[│┃]", line)[1:-1] for line in table.splitlines() if line[:1] in "│┃"]
    return ["".join(part.strip() for part in column) for column in zip(*cells, strict=True)]


@pytest.mark.parametrize("quiet", [False, True])
def test_failures_end_with_1_and_stand_whole_in_a_table(answer, quiet):
    """The paths are wider than the terminal, and hold text that rich would read as markup or emoji."""
    case = f"patient[bold]/{'study' * 12}:100:/[/ct]"
    reason = f"/scans/{'deep/' * 30}[red].nii.gz:is-damaged"
    answer([prediction("a", Outcome.DONE), prediction(case, Outcome.FAILED, reason)])

    result = run(*(["--quiet"] if quiet else []))

    assert result.exit_code == 1
    assert result.stdout.startswith("" if quiet else "2 scans: 1 done, 1 failed\n")
    assert not (quiet and result.stdout)
    assert result.stderr.startswith("1 failed")
    assert shown(result.stderr) == [f"case{case}", f"reason{reason}"]


@pytest.mark.parametrize("quiet", [False, True])
def test_changes_of_the_requested_settings_are_printed_even_when_quiet(monkeypatch, quiet):
    def predict(*, report, watch, **_):
        watch(prediction("a[/b]", Outcome.DONE), 1, 2)
        report("cuda is out of memory: going on with 2 windows in one batch")
        return []

    monkeypatch.setattr(segpipe.prediction.predict, "predict", predict)

    result = run(*(["--quiet"] if quiet else []))

    assert result.exit_code == 0
    assert result.stderr == "segpipe: cuda is out of memory: going on with 2 windows in one batch\n"


def test_a_terminal_gets_a_bar_with_the_case_as_it_is_called(monkeypatch):
    def predict(*, watch, **_):
        watch(prediction("p1[bold]/a[/b]", Outcome.DONE), 1, 2)
        return []

    monkeypatch.setattr(segpipe.prediction.predict, "predict", predict)
    monkeypatch.setenv("FORCE_COLOR", "1")

    result = run()

    assert result.exit_code == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", result.stderr)
    assert "p1[bold]/a[/b]" in shown
    assert "1/2" in shown


def test_a_refusal_is_one_message_and_2(answer):
    answer(SegpipeError("out: another segpipe writes there now"))

    result = run()

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "segpipe: out: another segpipe writes there now\n"


def test_an_interruption_says_how_to_go_on_and_ends_as_the_signal_does(answer):
    answer(KeyboardInterrupt())

    result = run()

    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "segpipe: interrupted; finished scans stay; run the same command to continue\n"


def test_a_dry_run_asks_for_an_estimate_with_the_same_arguments(answer, monkeypatch):
    asked = []
    rows = [
        Estimate(
            "a[b]", Path("/scans/a.nii"), "segment", size=(512, 512, 600), seconds=90, peak_bytes=2 * 10**9
        ),
        Estimate("c", Path("/scans/c.nii"), "skip", "done before"),
        Estimate("d", Path("/scans/d.nii"), "refuse", "/scans/d.nii: is [damaged]"),
        Estimate("e", Path("/scans/e.nii"), "segment", size=(64, 64), seconds=30, peak_bytes=10**9),
    ]
    monkeypatch.setattr(
        segpipe.prediction.estimate, "estimate", lambda **arguments: (asked.append(arguments), rows)[1]
    )
    calls = answer()

    result = run("--dry-run", "--mirror", "0", "--set", "a=1")

    assert (result.exit_code, result.stderr, calls) == (1, "", [])  # one would fail
    (arguments,) = asked
    assert arguments["options"] == PredictOptions(flips=(0,))
    assert arguments["bundle"].overrides == {"a": 1}
    assert shown(result.stdout) == [
        "casea[b]cde",
        "whatsegmentskiprefusesegment",
        "size512 x 512 x 60064 x 64",
        "seconds90.030.0",
        "peak GB2.01.0",
    ]
    assert result.stdout.splitlines()[-2:] == [
        "d: /scans/d.nii: is [damaged]",
        "2 of 4 scans to segment: about 2.0 minutes, 2.0 GB at most",
    ]


def test_a_dry_run_says_where_no_time_is_known(monkeypatch):
    rows = [Estimate("a", Path("/scans/a.nii"), "segment", size=(8, 8), seconds=math.nan, peak_bytes=10**9)]
    monkeypatch.setattr(segpipe.prediction.estimate, "estimate", lambda **_: rows)

    result = run("--dry-run")

    assert result.exit_code == 0
    assert "seconds?" in shown(result.stdout)
    assert result.stdout.endswith("1 of 1 scans to segment: unknown time, 1.0 GB at most\n")


def test_garbage_is_collected_again_after_the_imports(answer):
    answer()

    run()

    assert gc.isenabled()
