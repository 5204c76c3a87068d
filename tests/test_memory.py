"""Free memory: that of the machine, or less under a limit."""

from types import SimpleNamespace

import psutil
import pytest

from segpipe import memory
from segpipe.memory import free_memory_bytes, in_gb


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with 1000 bytes free, and no limits yet."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_MOUNT", tmp_path / "mount")
    monkeypatch.setattr(memory, "_free_of_process", lambda: iter(()))
    return tmp_path


def group(folder, limit, used, cached, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{content}\n")
    (folder / "memory.stat").write_text(f"inactive_file {cached}\ntotal_inactive_file {cached}\n")


def test_without_limits_the_free_memory_is_the_machines(machine):
    assert free_memory_bytes() == 1000


@pytest.mark.parametrize(
    ("line", "below", "names"),
    [
        ("0::/job/step", "mount", ("memory.max", "memory.current")),
        ("4:memory:/job/step", "mount/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ],
)
def test_the_group_with_least_left_decides_and_its_file_cache_counts_as_free(line, below, names, machine):
    (machine / "groups").write_text(f"3:cpuset:/\n{line}\n")
    group(machine / below / "job", 500, 300, 50, names)  # 500 - 300 + 50
    group(machine / below / "job/step", "max", 300, 50, names)

    assert free_memory_bytes() == 250


def test_in_a_container_the_path_of_the_group_is_the_hosts(machine):
    (machine / "groups").write_text("0::/host/only\n")
    group(machine / "mount", 800, 100, 0, ("memory.max", "memory.current"))

    assert free_memory_bytes() == 700


def test_a_limit_that_is_passed_leaves_nothing(machine, monkeypatch):
    monkeypatch.setattr(memory, "_free_of_process", lambda: iter((-5,)))

    assert free_memory_bytes() == 0


def test_amounts_are_written_with_two_digits_that_count():
    assert [in_gb(count) for count in (1.26e9, 4.2e7, 5.4e12)] == ["1.3 GB", "0.042 GB", "5400 GB"]
