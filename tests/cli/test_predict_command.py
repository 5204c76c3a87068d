"""`segpipe predict` on a cohort as a real process: killed, interrupted, started twice, and on a full disk."""

import csv
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_bundle import BROKEN, contents, write_broken, write_bundle, write_scan, write_scans
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.files import file_sha256
from segpipe.prediction.ledger import locked_folder

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says
WIDE = {**os.environ, "COLUMNS": "1000"}  # a line of a table is one line


@pytest.fixture
def arguments(bundle, out):
    """Return a function that gives the command's arguments."""

    def command(scans, *options, folder=out):
        return ["predict", str(scans), "--bundle", str(bundle), "--output", str(folder), *options]

    return command


@pytest.fixture
def invoke(arguments):
    """Return a function that runs the command in this process."""

    def run(*words, **where):
        return CliRunner(env={"COLUMNS": "1000"}).invoke(
            app, arguments(*words, **where), catch_exceptions=False
        )

    return run


def _hear_interrupts():
    """Restore Ctrl-C, which a shell makes background processes ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(arguments):
    """Return a function that starts the command as a process; processes that still run at the end are killed."""
    started = []

    def run(*words, **where):
        process = subprocess.Popen(
            [SEGPIPE, *arguments(*words, **where)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=WIDE,
            preexec_fn=_hear_interrupts,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish(start):
    """Return a function that runs the command as a process, and returns exit status, stdout and stderr."""

    def run(*words, **where):
        process = start(*words, **where)
        stdout, stderr = process.communicate(timeout=600)
        return process.returncode, stdout, stderr

    return run


def ledger(folder):
    """Return the entries of the ledger's complete lines."""
    path = folder / "predictions.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def done(folder):
    """Return case -> entry of the cases that are done in the ledger."""
    last = {entry["case"]: entry for entry in ledger(folder)}
    return {case: entry for case, entry in last.items() if entry["state"] == "done"}


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


# --- what is said, and the exit status


def test_all_done_is_status_0_and_a_line(invoke, scans, out):
    result = invoke(scans, "--no-overlays")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "3 scans: 3 done",
        "3 not compared with the training cases; `segpipe reference-ranges` measures these cases",
        f"{out}: label maps, volumes.csv, predictions.jsonl, predict.log",
        f"{out}/labels.label: names and colours of the labels (ITK-SNAP: Segmentation, Import Label Descriptions)",
        f"{out}/labels.ctbl: names and colours of the labels (3D Slicer: Add Data)",
    ]
    assert invoke(scans, "--no-overlays").stdout.startswith("3 scans: 3 skipped\n")


def test_the_end_names_overlays_and_the_files_of_names_which_viewers_parse(invoke, scans, out, bundle):
    """The forms are those that ITK-SNAP writes in the head of its files, and that 3D Slicer's manual gives."""
    result = invoke(scans)

    assert f"{out}: label maps, overlays/, volumes.csv, predictions.jsonl, predict.log" in result.stdout
    named = [line.split(": ")[0] for line in result.stdout.splitlines()[-2:]]
    snap, slicer = (rows_of(name) for name in named)
    table = json.loads((bundle / "configs" / "metadata.json").read_text())["label_table"]
    expected = [(row.get("value", row["index"]), row["name"], row["color"]) for row in table]
    opaque = [int(row["index"] > 0) for row in table]
    # index, red, green, blue, transparency, visible, mesh visible, "name"
    assert snap == [
        [str(value), *map(str, color), *[str(shown)] * 3, name]
        for (value, name, color), shown in zip(expected, opaque, strict=True)
    ]
    # index, name with _ for a space, red, green, blue, opacity of 255
    assert Path(named[1]).read_text().startswith("# Color table file ")
    assert slicer == [
        [str(value), name.replace(" ", "_"), *map(str, color), str(255 * shown)]
        for (value, name, color), shown in zip(expected, opaque, strict=True)
    ]


def rows_of(path):
    """Return the fields of each row: words, or texts between quotation marks; a # begins a comment."""
    lines = [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]
    return [shlex.split(line) for line in lines]


def test_failures_are_status_1_and_a_table_of_reasons(invoke, scans, out):
    (scans / "scan_001.nii.gz").write_bytes(b"")
    (scans / "scan_[b]2.nii.gz").write_bytes(b"")

    result = invoke(scans, "--no-overlays")

    assert result.exit_code == 1
    assert result.stdout.startswith("4 scans: 2 done, 2 failed\n")
    for case in ("scan_001", "scan_[b]2"):
        (row,) = [line for line in result.stderr.splitlines() if f" {case} " in line]
        assert f"{scans / case}.nii.gz: empty file (0 bytes)" in row


def test_a_correction_is_named(invoke, scans, out):
    invoke(scans, "--no-overlays")
    shutil.copy(out / "scan_000.nii.gz", out / "scan_001.nii.gz")

    result = invoke(scans, "--no-overlays")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "3 scans: 1 kept, 2 skipped\nscan_001: its label map was corrected by hand and stays; --overwrite replaces it\n"
    )


def test_quiet_says_failures_alone(invoke, scans):
    result = invoke(scans, "--no-overlays", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")

    write_scan(scans / "scan_001.nii.gz", seed=5)
    (scans / "scan_002.nii.gz").write_bytes(b"")
    result = invoke(scans, "--no-overlays", "--quiet")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "scan_002" in result.stderr
    assert "scan_001" not in result.stderr


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(invoke, scans, out):
    result = invoke(scans, "--no-overlays", "--dry-run")
    assert result.exit_code == 0
    assert "3 of 3 scans to segment" in result.stdout
    assert not out.exists()

    invoke(scans, "--no-overlays")
    write_scan(scans / "scan_002.nii.gz", seed=5)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [out, *out.rglob("*")]}

    result = invoke(scans, "--no-overlays", "--dry-run")

    rows = [line.split() for line in result.stdout.splitlines() if "scan_" in line]
    assert [row[3] for row in rows] == ["skip", "skip", "segment"]
    assert "1 of 3 scans to segment" in result.stdout
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [out, *out.rglob("*")]} == before


def test_another_format_replaces_the_old_one(invoke, scans, out):
    invoke(scans, "--no-overlays")

    assert invoke(scans, "--no-overlays", "--format", ".mhd").exit_code == 0

    assert {path.suffix for path in out.glob("scan_*")} == {".mhd", ".zraw"}
    assert len(list(out.glob("scan_*"))) == 6


def test_scans_whose_outputs_collide_are_status_1_and_the_others_go_on(invoke, scans, tmp_path, out):
    other = write_scan(tmp_path / "other" / "scan_000.nii.gz", 5)

    result = invoke(scans, str(other), "--no-overlays")

    assert result.exit_code == 1
    assert result.stdout.startswith("4 scans: 2 done, 2 failed\n")
    rows = [line for line in result.stderr.splitlines() if "scan_000" in line]
    for row, scan, twin in zip(
        rows, (scans / "scan_000.nii.gz", other), (other, scans / "scan_000.nii.gz"), strict=True
    ):
        assert f"{scan}: has the same name without suffix as {twin} (upper" in row
    assert not (out / "scan_000.nii.gz").exists()


def test_strangers_are_a_line_and_status_0(invoke, scans, out):
    for name in ("dwi.bval", "VIEWER.EXE", "autorun.inf"):
        (scans / name).write_text("x")

    line = "segpipe: 3 files ignored: VIEWER.EXE, autorun.inf, dwi.bval; give --strict to refuse them\n"
    assert invoke(scans, "--no-overlays", "--dry-run").stderr == line
    result = invoke(scans, "--no-overlays")

    assert (result.exit_code, result.stderr) == (0, line)
    assert result.stdout.startswith("3 scans: 3 done\n")


def test_strict_refuses_strangers_with_status_2(invoke, scans, out):
    (scans / "dwi.bval").write_text("x")

    result = invoke(scans, "--strict")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "1 files are neither scans nor known companions: dwi.bval; segpipe reads .nii.gz" in result.stderr
    assert not out.exists()


def test_a_format_that_is_not_read_is_status_1_with_what_to_do(invoke, scans):
    (scans / "brain.mgz").write_text("x")

    result = invoke(scans, "--no-overlays")

    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "4 scans: 3 done, 1 failed")
    (row,) = [line for line in result.stderr.splitlines() if " brain.mgz " in line]
    assert "a FreeSurfer volume (.mgz), which segpipe does not read; convert it to .nii.gz or .nrrd" in row


def test_a_file_in_the_place_of_the_output_folder_is_status_2(invoke, scans, out):
    out.write_text("mine")

    result = invoke(scans)

    assert result.exit_code == 2
    assert result.stderr == (
        f"segpipe: {out}: nothing can be written there: {out} is no folder; choose another output folder, or mend the "
        "permissions\n"
    )
    assert out.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_status_2(invoke, scans, out):
    out.mkdir(mode=0o555)

    result = invoke(scans)

    assert result.exit_code == 2
    assert f"{out} is not writable (Permission denied)" in result.stderr


def test_weights_of_another_network_are_status_2(invoke, scans, tmp_path, out):
    wider = write_bundle(tmp_path / "wider", filters=[2, 4, 16])

    result = invoke(scans, "--weights", str(wider / "models" / "model.pt"))

    assert result.exit_code == 2
    assert result.stderr.startswith(f"segpipe: {wider / 'models' / 'model.pt'}: weights of another network: ")


def test_a_folder_in_use_is_status_2(invoke, scans, out):
    with locked_folder(out):
        result = invoke(scans)

    assert result.exit_code == 2
    assert result.stderr == (
        f"segpipe: {out}: another segpipe writes there now; wait for it, or choose another output folder\n"
    )


# --- as a process


@pytest.mark.slow
def test_ten_broken_scans_of_100_do_not_change_the_other_90(finish, tmp_path, out):
    good = write_scans(tmp_path / "good", 90)
    mixed = shutil.copytree(good, tmp_path / "mixed")
    names = list(BROKEN)[:10]
    for name in names:
        write_broken(mixed, name)
    assert finish(good, folder=tmp_path / "clean")[0] == 0

    status, stdout, stderr = finish(mixed, "--jobs", "2")

    assert (status, stdout.splitlines()[0]) == (1, "100 scans: 90 done, 10 failed")
    files = contents(out)
    assert sum(name.endswith((".nii.gz", ".png")) for name in files) == 180
    assert files == contents(tmp_path / "clean")
    reasons = {entry["case"]: entry["reason"] for entry in ledger(out) if entry["state"] == "failed"}
    assert len(reasons) == len(set(reasons.values())) == 10
    for name in names:
        case = name.partition(".")[0]
        (row,) = [line for line in stderr.splitlines() if line.startswith(f"│ {case} ")]
        assert reasons[case] in row


def require_whole(folder, clean):
    """Every file equals that of a clean run, and every case that the ledger calls done has its files."""
    for name, content in contents(folder).items():
        if not name.startswith(".segpipe-") and name != "volumes.csv":
            assert content == clean[name], f"{name} is half"
    for entry in done(folder).values():
        assert {file: file_sha256(folder / file) for file in entry["files"]} == entry["files"]
    if (folder / "volumes.csv").exists():
        rows = (folder / "volumes.csv").read_text().splitlines()
        assert set(rows) <= set(clean["volumes.csv"].decode().splitlines())
        assert {row[0] for row in csv.reader(rows[1:])} <= set(done(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "options"),
    [(10, ()), (6, ("--jobs", "3", "--format", ".mhd", "--entropy", "--no-overlays"))],
    ids=["10", "6, by jobs"],
)
def test_killed_at_random_moments_nothing_is_half_and_the_same_command_completes_it(
    start, finish, tmp_path, count, options
):
    """A quarter of the kills come at the start, the others after the first entry in the ledger."""
    scans = write_scans(tmp_path / "scans", 16)
    clean_folder = tmp_path / "clean"
    began = time.monotonic()
    process = start(scans, *options, folder=clean_folder)
    wait_for(lambda: ledger(clean_folder), process)
    at_work = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    seconds = {"starts": at_work - began, "works": time.monotonic() - at_work}
    clean = contents(clean_folder)
    chance = random.Random(20)
    shares = [chance.uniform(part, part + 1) / count for part in range(count)]
    chance.shuffle(shares)
    left = []

    for number, share in enumerate(shares):
        folder = tmp_path / f"out_{number}"
        phase = "starts" if number < count // 4 else "works"
        for _ in range(10):  # it may end before the kill
            process = start(scans, *options, folder=folder)
            if phase == "works":
                wait_for(lambda folder=folder: ledger(folder), process)
            moment = 0.9 * share * seconds[phase]
            began = time.monotonic()
            try:
                process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                if process.returncode != 0:  # else it ended between the two
                    break
            seconds[phase] = time.monotonic() - began
            shutil.rmtree(folder)
        assert process.returncode == -signal.SIGKILL
        if folder.exists():
            require_whole(folder, clean)
        before = done(folder)
        written = {file: (folder / file).stat() for entry in before.values() for file in entry["files"]}
        left.append(len(before))

        status, stdout, _ = finish(scans, *options, folder=folder)

        skipped = f", {len(before)} skipped" if before else ""
        expected = (
            f"16 scans: {16 - len(before)} done{skipped}" if len(before) < 16 else "16 scans: 16 skipped"
        )
        assert (status, stdout.splitlines()[0]) == (0, expected), moment
        assert contents(folder) == clean, moment
        for file, stat in written.items():
            again = (folder / file).stat()
            assert (again.st_mtime_ns, again.st_ino) == (stat.st_mtime_ns, stat.st_ino)
        shutil.rmtree(folder)

    assert len(set(left)) >= count / 5, left  # it was hit at work, and not only while it was starting


@pytest.mark.slow
def test_repeated_kills_do_not_prevent_completion(start, finish, tmp_path, out):
    """Each run is killed in the same folder, over label maps of other weights, after one or two files."""
    scans = write_scans(tmp_path / "scans", 10)
    old = write_bundle(tmp_path / "old", seed=1)
    assert finish(scans, "--weights", str(old / "models" / "model.pt"))[0] == 0
    before, lines, chance = contents(out), len(ledger(out)), random.Random(8)
    assert finish(scans, folder=tmp_path / "clean")[0] == 0
    clean = contents(tmp_path / "clean")

    for _ in range(4):
        process = start(scans)
        lines += chance.randint(1, 4)
        wait_for(lambda: len(ledger(out)) >= lines, process)  # noqa: B023 - called here
        process.kill()
        process.communicate()
        for name, content in contents(out).items():
            assert (
                name.startswith(".segpipe-")
                or content in {before[name], clean[name]}
                or name == "volumes.csv"
            )
        lines = len(ledger(out))

    assert finish(scans)[0] == 0
    assert contents(out) == clean


@pytest.mark.slow
def test_a_second_process_is_refused_while_the_first_goes_on(start, finish, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 8)
    first = start(scans)
    wait_for(lambda: ledger(out), first)
    first.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, first.pid, os.WSTOPPED)  # the signal arrives some time later
    lines = len(ledger(out))

    second = finish(scans)

    assert second == (
        2,
        "",
        f"segpipe: {out}: another segpipe writes there now; wait for it, or choose another output folder\n",
    )
    assert len(ledger(out)) == lines < 16
    first.send_signal(signal.SIGCONT)
    assert first.communicate()[0].startswith("8 scans: 8 done\n")
    assert first.returncode == 0
    assert finish(scans)[1].startswith("8 scans: 8 skipped\n")


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_interrupted_it_says_so_leaves_whole_files_and_goes_on(start, finish, tmp_path, out, presses):
    scans = write_scans(tmp_path / "scans", 12)
    assert finish(scans, folder=tmp_path / "clean")[0] == 0
    process = start(scans)
    wait_for(lambda: len(done(out)) >= 2, process)

    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    stdout, stderr = process.communicate()

    assert stdout == ""
    if presses == 1:
        assert process.returncode == 130
        assert stderr == "segpipe: interrupted; finished scans stay; run the same command to continue\n"
        assert not (out / ".segpipe-staging").exists()
    assert 2 <= len(done(out)) < 12
    require_whole(out, contents(tmp_path / "clean"))
    count = len(done(out))
    assert finish(scans)[1].startswith(f"12 scans: {12 - count} done, {count} skipped\n")
    assert contents(out) == contents(tmp_path / "clean")


# --- disks that take no more


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that mounts a disk of a given size in kB, or remounts it with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_kb, *options):
        remount = ["remount"] if place.is_mount() else []
        settings = ",".join([*remount, f"size={size_kb}k", *options])
        command = ["mount", "-t", "tmpfs", "-o", settings, "tmpfs", place]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no disk can be mounted here: {error}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", place], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size_kb", "options"),
    [
        (400, ()),
        (48, ("--no-overlays",)),
        (60, ("--no-overlays", "--format", ".mhd")),
        (48, ("--no-overlays", "--format", ".nrrd")),
        (100, ("--no-overlays", "--probabilities", "--entropy")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_full_disk_ends_it_with_one_message_and_with_room_it_goes_on(
    finish, small_disk, tmp_path, size_kb, options
):
    scans = write_scans(tmp_path / "scans", 12)
    assert finish(scans, *options, folder=tmp_path / "clean")[0] == 0
    clean = contents(tmp_path / "clean")
    folder = small_disk(size_kb) / "out"

    status, stdout, stderr = finish(scans, *options, folder=folder)

    message = (
        f"segpipe: {folder}: cannot be written any more (No space left on device); finished files stay: free "
        "some space, then run the same command to continue"
    )
    messages = [line for line in stderr.splitlines() if not line.startswith("MetaImage: ")]  # ITK's own
    assert (status, stdout, messages) == (2, "", [message])
    assert 1 <= len(done(folder)) < 12
    require_whole(folder, clean)

    small_disk(20000)
    assert finish(scans, *options, folder=folder)[0] == 0
    assert contents(folder) == clean


@pytest.mark.slow
def test_a_read_only_disk_is_refused_before_anything_is_computed(finish, small_disk, tmp_path):
    scans = write_scans(tmp_path / "scans", 2)
    folder = small_disk(20000) / "out"
    assert finish(scans, folder=folder)[0] == 0
    before = contents(folder)
    small_disk(20000, "ro")
    write_scan(scans / "scan_002.nii.gz", 2)

    status, stdout, stderr = finish(scans, folder=folder)

    assert (status, stdout) == (2, "")
    assert stderr == (
        f"segpipe: {folder}: nothing can be written there: {folder} is not writable (Read-only file system); choose "
        "another output folder, or mend the permissions\n"
    )
    assert contents(folder) == before
    assert "2 scans to segment" not in finish(scans, "--dry-run", folder=folder)[1]
