"""A ledger after a killed process, the lock of an output folder, and the content of `volumes.csv`."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from segpipe.errors import SegpipeError
from segpipe.inference.class_volume import ClassVolume
from segpipe.prediction.ledger import Entry, Ledger, State, locked_folder
from segpipe.prediction.publishing import publish, staged_files

HEAD = "case,label,voxels,millilitres,components,warnings,frame,resampled_channels,located"
DONE = Entry(
    case="p1/ct",
    state=State.DONE,
    scan="/scans/p1/ct.nii.gz",
    scan_sha256="ab" * 32,
    recipe="cd" * 32,
    precision="bfloat16",
    seconds=1.25,
    reason="by MONAI's own chain: its inferer is a SimpleInferer",
    files={"p1/ct.nii.gz": "ef" * 32, "overlays/p1/ct.png": "01" * 32},
    replaced={"p1/ct.mha": "23" * 32},
    volumes=(ClassVolume("tumour", 3, 0.003, 2), ClassVolume("cyst", 0, None, 0)),
    finished="2026-01-31T12:00:00+00:00",
)
OTHER = Entry("p2", State.FAILED, "/scans/p2.nii.gz", reason="p2.nii.gz: is damaged, größer als 5 mm")


def test_an_entry_comes_back_as_it_was(tmp_path):
    Ledger(tmp_path).append(DONE)

    entry = Ledger(tmp_path).entries["p1/ct"]
    assert entry == DONE
    assert isinstance(entry.state, State)


def test_a_folder_without_ledger_has_no_entries_and_gets_no_file(tmp_path):
    assert Ledger(tmp_path).entries == {}
    assert list(tmp_path.iterdir()) == []


def test_the_last_entry_of_a_case_counts(tmp_path):
    ledger = Ledger(tmp_path)
    for entry in (DONE, OTHER, replace(DONE, state=State.FAILED), replace(DONE, seconds=7.0)):
        ledger.append(entry)

    expected = {"p1/ct": replace(DONE, seconds=7.0), "p2": OTHER}
    assert ledger.entries == expected
    assert Ledger(tmp_path).entries == expected
    assert len(ledger.path.read_text().splitlines()) == 4


def test_wherever_a_process_was_killed_in_a_line_the_next_entry_is_whole(tmp_path):
    """The file is cut at many bytes of its second line, including the byte before the line's end."""
    ledger = Ledger(tmp_path)
    ledger.append(OTHER)
    first = ledger.path.read_bytes()
    ledger.append(DONE)
    both = ledger.path.read_bytes()
    third = replace(DONE, case="p3")

    for length in (*range(len(first), len(both), 13), len(both) - 1):
        ledger.path.write_bytes(both[:length])
        reopened = Ledger(tmp_path)
        assert reopened.entries == {"p2": OTHER}
        assert ledger.path.read_bytes() == both[:length]  # looking changes nothing
        reopened.append(third)
        assert Ledger(tmp_path).entries == {"p2": OTHER, "p3": third}
        assert ledger.path.read_bytes().startswith(first)


def test_half_of_the_very_first_line_is_no_entry(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append(DONE)
    ledger.path.write_bytes(ledger.path.read_bytes()[:20])

    reopened = Ledger(tmp_path)
    assert reopened.entries == {}
    reopened.append(OTHER)
    assert Ledger(tmp_path).entries == {"p2": OTHER}


def test_a_full_disk_that_takes_half_a_line_spoils_no_other(tmp_path):
    """Another thread may still write its entry after the disk was full."""
    ledger = Ledger(tmp_path)
    ledger.append(OTHER)
    room = ledger.path.stat().st_size + 20
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            ledger.append(DONE)
        assert ledger.path.stat().st_size == room
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.entries == {"p2": OTHER}

    ledger.append(replace(DONE, case="p3"))

    assert Ledger(tmp_path).entries == {"p2": OTHER, "p3": replace(DONE, case="p3")}


@pytest.mark.parametrize(
    "broken",
    [
        b'{"case": "p1/c',
        b"",
        b"[]",
        b"null",
        b"\xff\xfe\xfa",
        b'{"case": "p1", "volumes": []}',
        b'{"case": "p1", "scan": "p1.nii", "state": "eaten", "volumes": []}',
        b'{"case": "p1", "scan": "p1.nii", "state": "done", "volumes": [], "colour": 1}',
        b'{"case": "p1", "scan": "p1.nii", "state": "done", "volumes": [{"label": "a"}]}',
    ],
)
def test_a_broken_line_in_the_middle_is_refused(tmp_path, broken):
    ledger = Ledger(tmp_path)
    ledger.append(OTHER)
    ledger.path.write_bytes(ledger.path.read_bytes() + broken + b"\n")
    ledger.append(DONE)
    before = ledger.path.read_bytes()

    with pytest.raises(
        SegpipeError,
        match=r"predictions\.jsonl: line 2 was not written by segpipe \(.+\); restore the file, or",
    ):
        Ledger(tmp_path)
    assert ledger.path.read_bytes() == before


def test_entries_of_many_threads_are_all_whole(tmp_path):
    ledger = Ledger(tmp_path)
    entries = [replace(DONE, case=f"case_{index:02d}", reason="x" * 9000) for index in range(40)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ledger.append, entries))

    assert Ledger(tmp_path).entries == {entry.case: entry for entry in entries}


def test_volumes_of_every_scan_that_has_a_label_map(tmp_path):
    """Rows are sorted by case; slices have no millilitres; failed and partial cases have no row."""
    ledger = Ledger(tmp_path)
    tumour, cyst = ClassVolume("tumour", 1234567, 1234.567, 2), ClassVolume("cyst, left", 0, 0.0, 0)
    for case, state, volumes in (
        ("z", State.DONE, (tumour, cyst)),
        ("p,1/ct", State.KEPT, (ClassVolume("tumour", 3, 0.003, 1), cyst)),
        ("slice", State.DONE, (ClassVolume("tumour", 40, None, 5),)),
        ("failed", State.DONE, (tumour,)),
        ("failed", State.FAILED, (tumour,)),
        ("half", State.WRITING, (tumour,)),
        ("again", State.DONE, (tumour,)),
        ("again", State.DONE, (cyst,)),
    ):
        warnings = {"slice": ("too large", "odd, too"), "z": None}.get(case, ())
        ledger.append(Entry(case, state, f"/scans/{case}.nii", volumes=volumes, warnings=warnings))

    Ledger(tmp_path).write_volumes()

    assert (tmp_path / "volumes.csv").read_text() == (
        f"{HEAD}\n"
        'again,"cyst, left",0,0,0,,,,\n'
        '"p,1/ct",tumour,3,0.003,1,,,,\n'
        '"p,1/ct","cyst, left",0,0,0,,,,\n'
        'slice,tumour,40,,5,"too large; odd, too",,,\n'
        "z,tumour,1234567,1234.57,2,not compared with the training cases,,,\n"
        'z,"cyst, left",0,0,0,not compared with the training cases,,,\n'
    )


def test_volumes_of_nothing_are_a_head(tmp_path):
    Ledger(tmp_path).write_volumes()

    assert (tmp_path / "volumes.csv").read_text() == f"{HEAD}\n"


def test_volumes_of_time_frames_and_resampled_channels(tmp_path):
    volumes = [ClassVolume("LV", 10 * frame, 1.5, 1, frame) for frame in (1, 2)]
    warnings = ("frame 2: LV smaller", "frame 2: image noisier")
    entry = Entry("cine", State.DONE, "/scans/cine.nii", volumes=volumes, warnings=warnings)
    located = ("frame 1: box: 12% of the scan", "frame 2: whole scan: the locator found nothing")
    resampled = ("T2 covers 96 %", "FLAIR covers 80 %")
    Ledger(tmp_path).append(replace(entry, resampled=resampled, located=located))

    Ledger(tmp_path).write_volumes()

    assert (tmp_path / "volumes.csv").read_text() == (
        f"{HEAD}\n"
        "cine,LV,10,1.5,1,,1,T2 covers 96 %; FLAIR covers 80 %,box: 12% of the scan\n"
        "cine,LV,20,1.5,1,LV smaller; image noisier,2,T2 covers 96 %; FLAIR covers 80 %,"
        "whole scan: the locator found nothing\n"
    )


@pytest.fixture
def other(tmp_path):
    """Return a process that tries to lock tmp_path/out at every line of input, and answers."""
    code = (
        "import sys, time, pathlib\n"
        "from segpipe.errors import SegpipeError\n"
        "from segpipe.prediction.ledger import locked_folder\n"
        "for _ in sys.stdin:\n"
        "    try:\n"
        "        with locked_folder(pathlib.Path(sys.argv[1])) as staging:\n"
        "            (staging / 'ct').mkdir()\n"
        "            (staging / 'ct' / 'half.nii.gz').write_text('x')\n"
        "            print('held', flush=True)\n"
        "            time.sleep(600)\n"
        "    except SegpipeError as error:\n"
        "        print(error, flush=True)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "out"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def attempt(process):
    """Let the other process try to lock the folder, and return its answer."""
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_a_folder_is_one_processs_until_it_ends_or_is_killed(tmp_path, other):
    """Neither process touches the other's files; files of a killed process are removed."""
    folder = tmp_path / "out"
    refusal = f"{folder}: another segpipe writes there now; wait for it, or choose another output folder"
    with locked_folder(folder) as staging:
        (staging / "mine").touch()
        assert attempt(other) == refusal
        assert (staging / "mine").exists()

    assert attempt(other) == "held"
    (half,) = folder.rglob("half.nii.gz")
    with pytest.raises(SegpipeError) as refused, locked_folder(folder):
        pytest.fail("two processes hold one folder")
    assert str(refused.value) == refusal
    assert half.exists()

    other.kill()
    other.wait()
    assert half.exists()
    with locked_folder(folder) as staging:
        assert list(staging.iterdir()) == []
    assert not half.exists()


def test_staging_is_gone_afterwards_however_the_block_ends(tmp_path):
    folder = tmp_path / "a" / "b"

    def fail():
        with locked_folder(folder) as staging:
            (staging / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert not list(folder.rglob("half"))
    with locked_folder(folder) as staging:
        assert staging.is_relative_to(folder)
    assert not staging.exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "out").touch()

    with pytest.raises(SegpipeError) as refused, locked_folder(tmp_path / "out"):
        pytest.fail("a file was taken for a folder")
    assert f"out: nothing can be written there: {tmp_path / 'out'} is no folder" in str(refused.value)


def test_a_half_written_table_of_a_killed_process_is_removed_and_nothing_else(tmp_path):
    for name in (".segpipe-0123456789ab-x.partial/volumes.csv", ".mine/volumes.csv", "p1/ct.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    with locked_folder(tmp_path):
        pass

    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files - {".segpipe-lock"} == {".mine/volumes.csv", "p1/ct.nii.gz"}


@pytest.fixture
def staged(tmp_path):
    """Return a folder with three files to publish."""
    folder = tmp_path / "staging" / "ct"
    for name in ("p1/ct.nii.gz", "overlays/p1/ct.png", "zz.raw"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


def test_staged_files_are_named_by_their_place_with_their_hash(staged):
    assert staged_files(staged) == {
        name: hashlib.sha256(f"content of {name}".encode()).hexdigest()
        for name in ("overlays/p1/ct.png", "p1/ct.nii.gz", "zz.raw")
    }


def test_published_files_replace_what_lay_there(tmp_path, staged):
    (tmp_path / "out" / "p1").mkdir(parents=True)
    (tmp_path / "out" / "p1" / "ct.nii.gz").write_text("of an earlier run")

    publish(staged, tmp_path / "out", list(staged_files(staged)), last="p1/ct.nii.gz")

    published = {
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    assert published == {"overlays/p1/ct.png", "p1/ct.nii.gz", "zz.raw"}
    for name in published:
        assert (tmp_path / "out" / name).read_text() == f"content of {name}"
    assert not any(path.is_file() for path in staged.rglob("*"))


def test_the_file_that_counts_comes_after_all_others(tmp_path, staged):
    """If another file cannot be renamed, there is no label map."""
    (tmp_path / "out" / "zz.raw").mkdir(parents=True)

    with pytest.raises(OSError, match=r"zz\.raw"):
        publish(staged, tmp_path / "out", list(staged_files(staged)), last="p1/ct.nii.gz")

    assert (tmp_path / "out" / "overlays" / "p1" / "ct.png").is_file()
    assert not (tmp_path / "out" / "p1" / "ct.nii.gz").exists()
    assert (staged / "p1" / "ct.nii.gz").is_file()


def test_an_old_header_never_stands_beside_new_voxels(tmp_path, monkeypatch):
    """After a kill between the two files of a MetaImage, there is no label map rather than one of two runs."""
    staged, out = tmp_path / "staged", tmp_path / "out"
    for folder, content in ((out, "old"), (staged, "new")):
        folder.mkdir()
        for name in ("ct.mhd", "ct.zraw"):
            (folder / name).write_text(content)
    replace_file = Path.replace

    def killed(path, target):
        if path.name == "ct.mhd":
            raise KeyboardInterrupt
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", killed)

    with pytest.raises(KeyboardInterrupt):
        publish(staged, out, ["ct.mhd", "ct.zraw"], last="ct.mhd")

    assert (out / "ct.zraw").read_text() == "new"
    assert not (out / "ct.mhd").exists()


def test_the_old_label_map_of_one_file_stands_until_the_new_one_is_there(tmp_path, staged):
    """If another file cannot be renamed, the old label map is still complete."""
    (tmp_path / "out" / "zz.raw").mkdir(parents=True)
    (tmp_path / "out" / "p1").mkdir()
    (tmp_path / "out" / "p1" / "ct.nii.gz").write_text("of an earlier run")

    with pytest.raises(OSError, match=r"zz\.raw"):
        publish(staged, tmp_path / "out", list(staged_files(staged)), last="p1/ct.nii.gz")

    assert (tmp_path / "out" / "p1" / "ct.nii.gz").read_text() == "of an earlier run"


def test_every_file_is_on_disk_before_its_name_is_said(staged, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: (synced.append(Path(f"/proc/self/fd/{number}").readlink()), fsync(number))
    )

    files = staged_files(staged)

    assert {staged / name for name in files} <= set(synced)


def test_a_classified_image_comes_back(tmp_path):
    """Its classes keep the order of the network's outputs; a segmented scan has no such keys."""
    image = Entry("a.png", State.DONE, "/a.png", classes=("b", "a"), probabilities=(0.25, 0.75), decision="a")
    Ledger(tmp_path).append(image, Entry("b", State.FAILED, "/b"))

    assert Ledger(tmp_path).entries["a.png"] == image
    first, second = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert '"classes": ["b", "a"]' in first
    assert "classes" not in second


@pytest.mark.parametrize("change", [{"classes": ["a"]}, {"probabilities": ["x"]}, {"decision": 3}])
def test_a_classified_image_that_segpipe_did_not_write(tmp_path, change):
    image = Entry("a.png", State.DONE, "/a.png", classes=("b", "a"), probabilities=(0.25, 0.75), decision="a")
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps({**image.as_row(), **change}) + "\n")

    with pytest.raises(SegpipeError, match="line 1 was not written by segpipe"):
        Ledger(tmp_path)
