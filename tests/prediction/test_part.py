"""Which part a text or a Slurm task names, and which scans belong to it."""

from pathlib import Path

import pytest

from segpipe.errors import SegpipeError
from segpipe.prediction.options import Cohort
from segpipe.prediction.part import CohortPart, case_names
from segpipe.volumes import RefusedScan, Scan, VolumeFormat


def slurm(task, first, last, step=1, count=None):
    """Return the variables of a task; the count is that of a range from first to last."""
    numbers = {"ID": task, "MIN": first, "MAX": last, "STEP": step}
    numbers["COUNT"] = (last - first) // step + 1 if count is None else count
    return {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}


def test_a_text_names_a_part():
    assert CohortPart.parse("2/8", {}) == CohortPart(count=8, number=2)
    assert str(CohortPart.parse("2/8", {})) == "2/8"
    assert CohortPart.parse("1/1", {}) == CohortPart(1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9/8", "--part is 9/8, and there is no such part: .* such as 8/8"),
        ("0/8", "--part is 0/8, and there is no such part: .* such as 1/8"),
        ("1/0", "--part is 1/0, and there is no such part"),
        *(
            (text, "must be a number and the number of parts")
            for text in ("x/8", "2", "-1/8", "2/8/9", " 2/8", "²/8", "")
        ),
    ],
)
def test_a_text_that_names_no_part_is_refused(text, message):
    with pytest.raises(SegpipeError, match=message):
        CohortPart.parse(text, slurm(1, 1, 8))


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        (slurm(2, 1, 8), "2/8"),
        (slurm(0, 0, 7), "1/8"),
        (slurm(7, 0, 7), "8/8"),
        (slurm(30, 10, 80, 10), "3/8"),
        (slurm(5, 5, 5), "1/1"),
        (slurm(7, 1, 7, 2), "4/4"),
    ],
)
def test_a_slurm_task_has_the_part_of_its_place_in_the_range(variables, part):
    assert str(CohortPart.parse("slurm", variables)) == part


@pytest.mark.parametrize(
    "variables",
    [
        slurm(3, 1, 7, count=3),  # --array=1,3,7
        slurm(3, 1, 8, count=2),  # tasks 1 and 8 are missing among those submitted again
        slurm(4, 1, 7, 2),  # no task of this range
        slurm(2, 1, 8, 2, count=4),
        slurm(1, 1, 8, 2, count=4),  # a range from 1 with a step of 2 ends at 7
    ],
)
def test_a_list_of_tasks_is_refused(variables):
    with pytest.raises(SegpipeError, match=r"Their parts would not add up; .* --part 3/8"):
        CohortPart.parse("slurm", variables)


def test_slurm_is_refused_outside_of_an_array_job():
    with pytest.raises(SegpipeError, match="SLURM_ARRAY_TASK_ID is not set"):
        CohortPart.parse("slurm", {"SLURM_JOB_ID": "7"})
    with pytest.raises(SegpipeError, match="SLURM_ARRAY_TASK_STEP is 'two'"):
        CohortPart.parse("slurm", {**slurm(1, 1, 8), "SLURM_ARRAY_TASK_STEP": "two"})


@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
def test_each_scan_belongs_to_one_part(count):
    names = [f"scan_{index}" for index in range(8)]
    cohort = Cohort(
        tuple(Scan(Path(name), VolumeFormat.NIFTI, name) for name in reversed(names[:6])),
        tuple(RefusedScan(Path(name), name, "broken") for name in names[6:]),
        ignored_files=("notes.txt",),
    )

    parts = [CohortPart(count, number).of(cohort) for number in range(1, count + 1)]

    found = [scan.name for part in parts for scan in (*part.scans, *part.refused)]
    assert sorted(found) == names == case_names(cohort)
    sizes = [len(part.scans) + len(part.refused) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert [part.ignored_files for part in parts] == [("notes.txt",), *[()] * (count - 1)]


def test_a_ledgers_name_says_its_part():
    part = CohortPart(8, 2)

    assert part.ledger_file == "predictions.part2of8.jsonl"
    assert CohortPart.of_ledger_file(part.ledger_file) == part
    assert CohortPart.of_ledger_file("predictions.jsonl") is None
    assert CohortPart.of_ledger_file("predictions.part9of8.jsonl") is None
