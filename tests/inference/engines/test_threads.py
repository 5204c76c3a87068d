"""The number of threads: never more than PyTorch's, the cores of the process, or the limit of a control group."""

import os

import pytest
import torch

from segpipe import memory
from segpipe.inference.engines import threads
from segpipe.inference.engines.threads import processor_name, usable_threads


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that sets the machine's cores, the process's cores, PyTorch's threads and a group's files."""

    def has(cores=16, bound=16, by_torch=16, line="0::/job", **files):
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
        monkeypatch.setattr(torch, "get_num_threads", lambda: by_torch)
        monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
        monkeypatch.setattr(memory, "_MOUNT", tmp_path / "mount")
        (tmp_path / "groups").write_text(f"{line}\n")
        for name, text in files.items():
            path = tmp_path / "mount" / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return usable_threads()

    return has


@pytest.mark.parametrize(
    ("limits", "expected"), [({}, 16), ({"bound": 3}, 3), ({"by_torch": 2}, 2), ({"cores": 1, "bound": 1}, 1)]
)
def test_the_smallest_limit_counts(machine, limits, expected):
    assert machine(**limits) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 16),
        ("400000 100000\n", 4),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("x\n", 16),
    ],
    ids=["none", "4 cores", "2.5 cores", "half a core", "unreadable"],
)
def test_whole_cores_of_a_control_group(machine, text, expected):
    assert machine(job__cpuDOTmax=text) == expected


def test_a_group_around_the_group_counts_too(machine):
    assert machine(job__cpuDOTmax="max 100000\n", cpuDOTmax="300000 100000\n") == 3


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("200000", 2)])
def test_version_1_of_control_groups(machine, quota, expected):
    files = {"cpu__job__cpuDOTcfs_quota_us": quota, "cpu__job__cpuDOTcfs_period_us": "100000"}

    assert machine(line="4:cpu,cpuacct:/job", **files) == expected


def test_the_processor_has_a_name(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "A"})
    assert processor_name() == "A"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(threads.platform, "processor", lambda: "")
    monkeypatch.setattr(threads.platform, "machine", lambda: "B")
    assert processor_name() == "B"
