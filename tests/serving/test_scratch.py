"""The folder of uploads is for one user alone; what a killed server left is removed at the next start."""

import pytest

from segpipe.errors import SegpipeError
from segpipe.serving.scratch import scratch_folder


def test_it_is_for_this_user_alone_and_removed_at_the_end(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "scan.nii.gz").touch()
        mode = folder.stat().st_mode & 0o777

    assert mode == 0o700
    assert list(tmp_path.iterdir()) == []


def test_two_servers_leave_each_other_alone_and_the_dead_ones_scans_go(tmp_path):
    """A lock that nobody holds marks a dead server; a link is never followed."""
    dead = tmp_path / "segpipe-serve-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "scan.nii.gz").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    (tmp_path / "segpipe-serve-link").symlink_to(elsewhere)

    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        kept = {path.name for path in tmp_path.iterdir()}

    assert kept == {first.name, second.name, "elsewhere", "segpipe-serve-link"}
    assert (elsewhere / ".lock").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with (
        pytest.raises(SegpipeError, match=r"nowhere: no folder for uploads .*--scratch"),
        scratch_folder(tmp_path / "nowhere"),
    ):
        raise AssertionError
