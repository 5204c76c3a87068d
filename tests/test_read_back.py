"""Every file that segpipe reads back is read or refused with one message, whatever its content."""

import copy
import json
import math
import time
from pathlib import Path

import pytest

from segpipe.configuration.metadata import read_metadata
from segpipe.dataset import load_manifest
from segpipe.dataset.importing.layouts import read_layout
from segpipe.dataset.manifest_schema import MOST_CASES
from segpipe.errors import SegpipeError
from segpipe.evaluation.summary import read_summary
from segpipe.files import file_sha256
from segpipe.inference.class_volume import ClassVolume
from segpipe.labels import load_label_table
from segpipe.networks.weights import read_sidecar
from segpipe.prediction.ledger import Entry, Ledger, State
from segpipe.reference_ranges import ReferenceRanges
from segpipe.training import RunFolder

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "bundles" / "mri_hippocampus_unet" / "models"
LONGEST_MESSAGE = 4000
HASH = "ab" * 32
MISSING = object()
VALUES = (
    MISSING,
    None,
    [],
    {},
    [None],
    {"a": 1},
    [[1]],
    0,
    -1,
    2.5,
    1e308,
    10**99,
    math.nan,
    math.inf,
    True,
    "",
    "x" * 3000,
    "\x00",
    "$x",
    "\ud800",
    "../x",
    "/x",
)
BOMBS = {
    "brackets": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "closed brackets": "[" * 500 + "]" * 500,
    "digits": "9" * 10**6,
    "digits in a field": '{"version": ' + "9" * 5000 + "}",
    "a key twice": '{"a": 1, "a": 2}',
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a text": '"x"',
    "NaN": "NaN",
    "two values": "{}{}",
    "a comment": "// x\n{}",
    "no UTF-8": b"\xe9",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half a character": b'{"name": "\xed\xa0\x80"}',
    "zeros": b"\0" * 100,
}


def manifest():
    """A shipped manifest with its first three cases."""
    content = json.loads((ROOT / "data_manifests" / "covid_ct_512.json").read_text())
    training = content["training"][:3]
    names = [case["case"] for case in training]
    content.pop("numTest", None), content.pop("test", None), content.pop("splits", None)
    splits = {"one": {"about": "x", "train": names[:1], "validation": names[1:]}}
    return {**content, "training": training, "numTraining": 3, "splits": splits}


def ledger_line():
    folder_free = Entry("a", State.DONE, "/scans/a.nii", HASH, "r", "float32", 1.0, files={"a.nii": HASH})
    volume = vars(ClassVolume("x", 1, 0.5, 1))
    return {**vars(folder_free), "replaced": {"a.mha": HASH}, "volumes": [volume], "warnings": ["w"]}


def _shortened(value, most=5):
    if isinstance(value, dict):
        return {key: _shortened(part, most) for key, part in list(value.items())[:most]}
    return value


class File:
    """A file that segpipe reads back: its place in a folder, its content, and its reader."""

    def __init__(self, name, content, read, write=json.dumps):
        self.name, self.content, self.read, self.write = name, content, read, write


def read_ledger(folder):
    ledger = Ledger(folder)
    ledger.write_volumes()
    for entry in ledger.entries.values():
        assert "".join((entry.reason, entry.scan, entry.scan_sha256, entry.recipe, entry.precision)) != ""
        assert isinstance(entry.seconds, int | float)
        assert {*entry.files, *entry.replaced} >= set()


def read_run(folder):
    run = RunFolder(folder.parent, folder.name, resume=True)
    configuration, _ = run.recorded_at_start()
    assert isinstance(configuration, dict)


def read_weights_sidecar(folder):
    weights = folder / "model.pt"
    weights.write_bytes(b"weights")
    read_sidecar(weights)


def sidecar(folder):
    (folder / "model.pt").write_bytes(b"weights")
    content = json.loads((MODELS / "model.json").read_text())
    rows = {"labels": content["labels"], "weights_sha256": file_sha256(folder / "model.pt")}
    return {**{key: _shortened(part) for key, part in content.items()}, **rows}


def limits():
    """ReferenceRanges with few ranges."""
    content = json.loads((ROOT / "bundles/ct_covid_unet/models/model.reference_ranges.json").read_text())
    return {**content, "ranges": _shortened(content["ranges"], 2), "about": {"a": 1}}


METADATA = json.loads((MODELS.parent / "configs" / "metadata.json").read_text())
FILES = {
    "manifest": lambda folder: File("m.json", manifest(), lambda: load_manifest(folder / "m.json")),
    "ledger": lambda folder: File(
        "predictions.jsonl", ledger_line(), lambda: read_ledger(folder), lambda row: json.dumps(row) + "\n"
    ),
    "summary": lambda folder: File(
        "summary.json",
        {
            "about": {
                "warnings": ["a"],
                "weights": [{"file": "a", "sha256": "b"}],
                "manifest": {"name": "a", "sha256": "b"},
            },
            "tolerance_mm": 1.0,
            "references_sha256": {"a": "b"},
            "colors": {"a": [1, 2, 3]},
        },
        lambda: read_summary(folder),
    ),
    "limits": lambda folder: File(
        "a.reference_ranges.json", limits(), lambda: ReferenceRanges.read(folder / "a.limits.json")
    ),
    "label table": lambda folder: File(
        "metadata.json",
        {"label_table": METADATA["label_table"]},
        lambda: load_label_table(folder / "metadata.json"),
    ),
    "metadata": lambda folder: File(
        "metadata.json", METADATA, lambda: read_metadata(folder / "metadata.json")
    ),
    "sidecar": lambda folder: File("model.json", sidecar(folder), lambda: read_weights_sidecar(folder)),
    "nnU-Net": lambda folder: File(
        "dataset.json",
        {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "a": 1, "b": [1, 2]},
            "numTraining": 1,
            "file_ending": ".nii.gz",
            "dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}},
        },
        lambda: read_layout(folder),
    ),
    "Decathlon": lambda folder: File(
        "dataset.json",
        {
            "name": "a",
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "a"},
            "numTraining": 1,
            "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
            "test": ["./imagesTs/b.nii.gz"],
            "validation": [{"image": "imagesTr/c.nii.gz"}],
        },
        lambda: read_layout(folder),
    ),
    "run's environment": lambda folder: _run(folder, "environment.json"),
    "run's configuration": lambda folder: _run(folder, "configuration.yaml"),
}


def _run(folder, name):
    contents = {"environment.json": {"packages": {"a": "1"}}, "configuration.yaml": {"a": 1, "b": {"c": [1]}}}
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(content))
    return File(name, contents[name], lambda: read_run(folder))


def _places(content, above=()):
    yield above
    if isinstance(content, dict):
        for key, part in content.items():
            yield from _places(part, (*above, key))
    elif content and isinstance(content, list):
        yield from _places(content[0], (*above, 0))


def _changed(content, place, value):
    content = copy.deepcopy(content)
    if not place:
        return content if value is MISSING else value
    part = content
    for key in place[:-1]:
        part = part[key]
    if value is MISSING:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return content


def _outcome(read):
    try:
        read()
    except SegpipeError as error:
        return "refused" if len(str(error)) < LONGEST_MESSAGE else f"refused at length: {str(error)[:300]}"
    return "read"


@pytest.mark.parametrize("step", [16, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("kind", FILES)
def test_any_value_in_any_field_is_read_or_refused(tmp_path, kind, step):
    file = FILES[kind](tmp_path)
    outcomes = set()

    for number, place in enumerate(_places(file.content)):
        for value in VALUES[number % step :: step]:
            content = file.write(_changed(file.content, place, value))
            (tmp_path / file.name).write_text(content)
            outcomes.add(_outcome(file.read))

    assert outcomes in ({"refused"}, {"refused", "read"})


@pytest.mark.parametrize("kind", FILES)
def test_a_bomb_is_refused_at_once(tmp_path, kind):
    file = FILES[kind](tmp_path)

    for name, content in BOMBS.items():
        if kind == "run's configuration" and name not in YAML_BOMBS:
            continue
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / file.name).write_bytes(data + b"\n")
        start = time.perf_counter()

        assert _outcome(file.read) == "refused" or (kind, name) in MAY_BE_READ, name
        assert time.perf_counter() - start < 20, name


YAML_BOMBS = ("closed brackets", "nothing", "null", "a list", "no UTF-8", "zeros")
MAY_BE_READ = {
    ("ledger", "nothing"),
    ("metadata", "a key twice"),
    ("run's environment", "digits in a field"),
}


def _cases(count):
    return [{"case": f"c{index}", "image": [f"{index}"], "label": f"l{index}"} for index in range(count)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": [1] * (MOST_CASES + 1)}, f"must be at most {MOST_CASES}"),
        ({"training": [{}] * MOST_CASES}, "'case' is a required property; .* and 990 more"),
        ({"labels": {str(value): f"c{value}" for value in range(50_000)}}, "has too many properties"),
        ({"modality": {str(value): f"c{value}" for value in range(50_000)}}, "has too many properties"),
        ({"name": "x" * 10**7}, r"\.name: 'x+\.\.\. is too long"),
        ({"description": "\x07" + "x" * 10**7}, r"\.description: '.*control character U\+0007"),
        ({"training": [{**_cases(1)[0], "image": ["a"] * 10**5}]}, "is too long"),
        ({"training": [{**_cases(1)[0], "sha256": {f"x{k}": HASH for k in range(50_000)}}]}, "too many"),
        (
            {"training": [{**_cases(1)[0], "sha256": {f"x{k}": HASH for k in range(5000)}}]},
            "and 4995 more, which is no file of this case",
        ),
        ({"splits": {"s": {"train": [f"c{k}" for k in range(9000)], "validation": ["a"]}}}, "none of its"),
        ({"labels": {"0": "a", "1": "b", "2": "B"}}, "'b' stands under two values"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_large_manifest_is_refused_in_seconds(tmp_path, changes, reason):
    path = tmp_path / "m.json"
    path.write_text(
        json.dumps(
            {
                **manifest(),
                "splits": {},
                **changes,
                "numTraining": len(changes.get("training", manifest()["training"])),
            }
        )
    )
    start = time.perf_counter()

    with pytest.raises(SegpipeError, match=reason) as caught:
        load_manifest(path)

    assert time.perf_counter() - start < 20
    assert len(str(caught.value)) < LONGEST_MESSAGE


def test_a_fold_is_a_whole_number_however_it_is_written(tmp_path):
    path = tmp_path / "m.json"
    content = manifest()
    content["training"] = [{**case, "fold": 1.0} for case in content["training"]]
    path.write_text(json.dumps(content))

    assert [repr(case.fold) for case in load_manifest(path).training] == ["1"] * 3


def test_a_ledger_names_no_file_outside_of_its_folder(tmp_path):
    """A later run may remove the files that a ledger lists."""
    for name in ("files", "replaced", "corrected"):
        for place in ("/etc/passwd", "../a.nii", "a/../../b.nii"):
            line = json.dumps({**ledger_line(), name: {place: HASH}})
            (tmp_path / "predictions.jsonl").write_text(line + "\n")

            with pytest.raises(SegpipeError, match=f"{name} has .*, which is not below the folder"):
                Ledger(tmp_path)


def test_a_configuration_of_a_run_that_aliases_itself_cannot_be_gone_on_with(tmp_path):
    _run(tmp_path, "configuration.yaml")
    (tmp_path / "configuration.yaml").write_text("a: &a [*a]\n")

    with pytest.raises(SegpipeError, match=r"configuration\.yaml: holds an alias .*; restore the file, or"):
        read_run(tmp_path)
