r"""No escape sequence, forged line, markup or formula in a scan's name leaves a command."""

import json
import re
import shutil

import pytest
from tiny_bundle import write_bundle, write_scan
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.csv_files import read_csv
from segpipe.evaluation.case_scores import CaseScores

NAMES = {
    "esc\x1b]0;PWN\x07\x1b[31mred": r"esc\x1b]0;PWN\x07\x1b[31mred",
    "x\n2026-01-01 00:00:00,000 INFO forged: done": r"x\n2026-01-01 00:00:00,000 INFO forged: done",
    "=cmd|' _C calc'!A0": "=cmd|' _C calc'!A0",
    "\u202egpj.exe": r"\u202egpj.exe",
    "Lésion [red]腫瘍": "Lésion [red]腫瘍",
}
BROKEN = "bro\x1b[31mken\n5 scans: 5 done"
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028]")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Return the command's result and its output folder; one scan is broken."""
    folder = tmp_path_factory.mktemp("names")
    bundle = write_bundle(folder / "tiny")
    for seed, name in enumerate(NAMES):
        write_scan(folder / "scans" / f"{name}.nii.gz", seed)
    (folder / "scans" / f"{BROKEN}.nii.gz").write_text("none")
    command = ["predict", str(folder / "scans"), "--bundle", str(bundle), "--output", str(folder / "out")]
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, command, catch_exceptions=False)
    return result, folder / "out"


def test_the_terminal_shows_names_escaped(predicted):
    result, _ = predicted

    assert result.exit_code == 1
    assert not HIDDEN.search(result.output)
    assert r"bro\x1b[31mken\n5 scans: 5 done" in result.stderr
    assert [line for line in result.output.splitlines() if line.startswith("5 scans")] == []


def test_no_line_of_the_log_is_forged(predicted):
    _, out = predicted
    text = (out / "predict.log").read_text()

    assert not HIDDEN.search(text)
    done = [line.split(" ", 3)[3] for line in text.splitlines() if ": done" in line]
    assert sorted(line.rpartition(": done")[0] for line in done) == sorted(NAMES.values())
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|ERROR) ", line) for line in text.splitlines()
    )
    assert text.count("\n") == len(NAMES) + 2  # what begins, each scan, and the broken one


def test_tables_hold_no_formula_and_give_names_back(predicted):
    _, out = predicted
    text = (out / "volumes.csv").read_text()

    assert not HIDDEN.search(text)
    assert not re.search(r"^=", text, re.MULTILINE)
    assert {row["case"] for row in read_csv(out / "volumes.csv")} == set(NAMES)


def test_an_evaluation_of_such_names_is_joined_with_another(predicted, tmp_path):
    _, out = predicted
    shutil.copytree(
        out, tmp_path / "maps", ignore=lambda _, names: [name for name in names if "nii" not in name]
    )
    maps = str(tmp_path / "maps")
    for which in ("one", "two"):
        options = ["--predictions", maps, "--references", maps, "--output", str(tmp_path / which)]
        assert CliRunner().invoke(app, ["evaluate", *options]).exit_code == 0

    folders = [str(tmp_path / which) for which in ("one", "two")]
    result = CliRunner().invoke(app, ["compare", *folders, "--output", str(tmp_path / "both")])

    assert result.exit_code == 0, result.output
    assert f"{len(NAMES)} cases scored for both" in result.stdout
    assert not HIDDEN.search(result.output)
    assert set(CaseScores.read(tmp_path / "one").cases) == set(NAMES)
    for page in (tmp_path / "one" / "report.html", tmp_path / "both" / "comparison.html"):
        content = page.read_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", content)
        shown = json.loads(re.search('<script type="application/json" id="data">(.*?)</script>', content)[1])
        assert set(shown["cases"]) == set(NAMES.values())
