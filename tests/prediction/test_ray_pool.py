"""Workers on Ray: what is refused before a cluster is touched, and a cluster of two machines, one of which dies."""

import builtins
import json
import os
import secrets
import socket
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from tiny_bundle import contents, write_scans

import segpipe
from segpipe import PredictOptions
from segpipe.errors import SegpipeError
from segpipe.prediction import ray_pool
from segpipe.prediction.ray_pool import RayPool, ray_workers, require_token, workers_that_fit

HERE = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}
THERE = {"Alive": True, "Resources": {"CPU": 5.0}}
GONE = {"Alive": False, "Resources": {"CPU": 64.0}}


@pytest.fixture
def clean(monkeypatch):
    """Keep the variables of this process as they are."""
    for name in (
        "RAY_ADDRESS",
        "RAY_AUTH_MODE",
        "RAY_USAGE_STATS_ENABLED",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "ray://head:10001", "auto"])
def test_a_cluster_of_other_machines_needs_a_token(address):
    with pytest.raises(
        SegpipeError, match=r"without a token, .*`export RAY_AUTH_MODE=token`, .*`ray get-auth"
    ):
        require_token(address, "")
    with pytest.raises(SegpipeError, match="RAY_AUTH_MODE is disabled"):
        require_token(address, "disabled")
    require_token(address, "token")


@pytest.mark.parametrize(
    "address", ["local", "127.0.0.1:6379", "localhost:6379", "[::1]:6379", "ray://127.0.0.1:10001"]
)
def test_this_machine_needs_no_token(address):
    require_token(address, "")


def test_a_cluster_that_does_not_answer_is_refused(clean):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        clean.setenv("RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(
            SegpipeError, match=r"no Ray cluster answers there .*Connection refused.* `ray start --head`"
        ):
            ray_workers(1)
    for address in ("127.0.0.1", "127.0.0.1:", "127.0.0.1:99999"):
        clean.setenv("RAY_ADDRESS", address)
        clean.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(SegpipeError, match="must be HOST:PORT"):
            ray_workers(1)


def test_without_ray_the_command_that_installs_it_is_named(clean):
    def without(name, *arguments, **options):
        if name == "ray":
            raise ImportError(name)
        return original(name, *arguments, **options)

    original = builtins.__import__
    clean.setattr(builtins, "__import__", without)

    with pytest.raises(SegpipeError, match=r"--workers ray needs a package: pip install 'segpipe\[ray\]'"):
        ray_workers(1)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_worker_needs_a_core(clean):
    with pytest.raises(SegpipeError, match="--cores-per-worker is 0, must be at least 1"):
        ray_workers(0)


def test_workers_fill_the_machines_that_live():
    nodes = [HERE, THERE, GONE]

    assert workers_that_fit(nodes, 1, has_gpu=False) == 13
    assert workers_that_fit(nodes, 4, has_gpu=False) == 3
    assert workers_that_fit(nodes, 3, has_gpu=True) == 2
    assert workers_that_fit(nodes, 5, has_gpu=True) == 1
    assert workers_that_fit(nodes, 9, has_gpu=False) == 0


class RayWithout:
    """A cluster of one machine; no actor is made."""

    def __init__(self, *nodes):
        self.nodes = lambda: list(nodes)

    def remote(self, **needs):
        return lambda kind: None


def pool_without_workers(cores, *, has_gpu=False):
    return RayPool(RayWithout(THERE), {"cores": cores, "has_gpu": has_gpu}, 9, lambda message: None)


def test_a_cluster_without_room_is_refused():
    with pytest.raises(SegpipeError, match="no machine of the Ray cluster has 6 cores for a worker"):
        pool_without_workers(6)
    with pytest.raises(SegpipeError, match="has 2 cores and a GPU for a worker"):
        pool_without_workers(2, has_gpu=True)


def test_a_worker_of_other_versions_is_refused_with_both():
    pool = RayPool.__new__(RayPool)
    pool._recipe = {"versions": {"segpipe": "0.1.0", "torch": "2.13.0"}}
    report = {"host": "node7", "versions": {"segpipe": "0.1.0", "torch": "2.12.0"}, "problem": ""}

    with pytest.raises(
        SegpipeError, match=r"the worker on node7 has torch 2.12.0 \(driver: 2.13.0\); install"
    ):
        pool._require_able(report)
    report |= {"versions": pool._recipe["versions"], "problem": "/b: is no bundle"}
    with pytest.raises(SegpipeError, match="the worker on node7 cannot start: /b: is no bundle"):
        pool._require_able(report)


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        (
            "local",
            Exception("The current node timed out.\nMore"),
            r"Ray does not start on this machine: The current node timed out\.; other programs .* --workers$",
        ),
        ("10.0.0.1:6379", ConnectionError(), "10.0.0.1:6379 refuses the connection: ConnectionError; see"),
    ],
)
def test_what_ray_raises_at_its_start_is_one_message(address, error, message):
    def init(**how):
        raise error

    with pytest.raises(SegpipeError, match=message):
        ray_pool._connect(SimpleNamespace(is_initialized=lambda: False, init=init), address)


def test_an_error_beside_a_scan_ends_the_run_with_its_reason():
    class TaskError(Exception):
        pass

    def get(reference):
        raise TaskError("Traceback\nOSError: [Errno 28] No space left on device\n")

    others = {"RayActorError": ZeroDivisionError, "ObjectLostError": ZeroDivisionError}
    pool = RayPool.__new__(RayPool)
    pool._ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayTaskError=TaskError, **others))

    with pytest.raises(
        SegpipeError, match=r"a worker failed: OSError: .* No space left on device; finished scans stay"
    ):
        pool._answer("reference", ray_pool._Busy(None, None))


RAYS_PATIENCE = {  # on a busy machine its processes take longer to find each other than by default
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_worker_register_timeout_seconds": "240",
    "RAY_raylet_start_wait_time_s": "240",
}
TWO_MACHINES = """
import json, os, socket, sys
from pathlib import Path

scans, bundle, out, result = sys.argv[1:]
import ray
from ray.cluster_utils import Cluster

# Ray 2.60 gives up on a machine whose agents do not write the ports that they chose within 15 s, which two busy cores
# take; ports that are given are not waited for
names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
free = [socket.create_server(("", 0)) for _ in range(2 * len(names))]
numbers = [one.getsockname()[1] for one in free]
for one in free:
    one.close()
first, second = dict(zip(names, numbers)), dict(zip(names, numbers[len(names):]))

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **first})
other = cluster.add_node(num_cpus=1, **second)
os.environ["RAY_ADDRESS"] = cluster.address

import segpipe
from segpipe.prediction import ray_pool
from segpipe.prediction.options import PredictOptions


class BothFromTheStart(ray_pool.RayPool):
    def run(self, jobs):
        ray.wait(list(self._busy), num_returns=len(self._busy), timeout=240)
        return super().run(jobs)


def watch(prediction, done, total):
    if done == 4:
        cluster.remove_node(other, allow_graceful=False)


ray_pool.RayPool = BothFromTheStart
options = PredictOptions(overlays=False, engine="torch", precision="float32")
done = segpipe.predict(scans, bundle, out, options=options, workers=ray_pool.ray_workers(1), watch=watch)
Path(result).write_text(json.dumps([one.outcome for one in done]))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_machine_that_dies_loses_and_doubles_nothing(bundle, tmp_path, out):
    """Ray's processes outlive an in-process test, so that the driver is a process of its own.

    Its outcomes are read from a file: Ray prints lines of its own. Both workers have a scan when the first outcome
    comes, so that the machine that is killed has a scan, or gets one before its death is known.
    """
    pytest.importorskip("ray")
    scans, result = write_scans(tmp_path / "scans", 12), tmp_path / "outcomes.json"
    token = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }

    done = subprocess.run(
        [sys.executable, "-c", TWO_MACHINES, scans, bundle, out, result],
        capture_output=True,
        text=True,
        env={**os.environ, **token, **RAYS_PATIENCE},
        timeout=600,
    )

    assert result.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads(result.read_text()) == ["done"] * 12
    assert "its worker died" in (out / "predict.log").read_text()
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert Counter((line["case"], line["state"]) for line in lines).most_common(1)[0][1] == 1
    whole = tmp_path / "whole"
    how = PredictOptions(overlays=False, engine="torch", precision="float32")
    segpipe.predict(scans, bundle, whole, options=how)
    assert contents(out) == contents(whole)
