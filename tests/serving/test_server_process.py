"""`segpipe serve` as a real process: a shipped bundle, the time limit, a crash of the network's process, signals."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from tiny_bundle import BUNDLES, write_bundle, write_scan

from segpipe.prediction.options import PredictOptions
from segpipe.prediction.predict import predict
from segpipe.serving.scratch import scratch_folder
from segpipe.volumes import read_volume

SEGPIPE = Path(sys.executable).with_name("segpipe")
pytestmark = pytest.mark.slow


class Server:
    """A running server, asked by `http.client`."""

    def __init__(self, process, port, scratch, log):
        self.process, self.port, self.scratch, self.log = process, port, scratch, log

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def post(self, body):
        status, content = self.ask("POST", "/scans", body)
        assert status == 202, content
        return f"/scans/{json.loads(content)['id']}"

    def finished(self, place):
        while True:
            status, content = self.ask("GET", f"{place}?wait=60")
            told = json.loads(content)
            if told["state"] == "finished":
                return status, told

    def network(self):
        """Return the process that holds the network."""
        return next(
            child
            for child in psutil.Process(self.process.pid).children()
            if any("spawn_main" in part for part in child.cmdline())
        )


@contextmanager
def served(folder, bundle, *options):
    """Start the command on a free port."""
    scratch, log = folder / "scratch", folder / "log"
    scratch.mkdir()
    command = [SEGPIPE, "serve", bundle, "--port", "0", "--scratch", scratch, *options]
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            until = time.monotonic() + 600  # a machine that is busy with other tests
            while not (found := re.search(r"http://127.0.0.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            server = Server(process, int(found[1]), scratch, log)
            while time.monotonic() < until:
                try:
                    if server.ask("GET", "/health")[0] == 200:
                        break
                except ConnectionError:
                    time.sleep(0.05)
            yield server
        finally:
            process.kill()


def test_a_shipped_bundle_gives_the_label_map_of_predict(tmp_path):
    bundle = BUNDLES / "mri_hippocampus_unet"
    scan = write_scan(tmp_path / "Doe^Jane.nii.gz", size=(40, 48, 36))
    given = ["--set", "precision=float32", "--device", "cpu"]
    command = [
        SEGPIPE,
        "predict",
        scan,
        "--bundle",
        bundle,
        "-o",
        tmp_path / "expected",
        "--no-overlays",
        *given,
    ]
    subprocess.run(command, check=True, capture_output=True)

    with served(tmp_path, bundle, *given) as server:
        place = server.post(scan.read_bytes())
        status, result = server.finished(place)
        _, label_map = server.ask("GET", f"{place}/label_map")
        until = time.monotonic() + 30
        while server.ask("GET", place)[0] != 404 and time.monotonic() < until:
            time.sleep(0.1)  # the last byte arrives before the server deletes the result
        left = [path for path in server.scratch.rglob("*") if path.is_file() and path.name != ".lock"]

    (tmp_path / "label_map.nii.gz").write_bytes(label_map)
    ours = read_volume(tmp_path / "label_map.nii.gz")
    theirs = read_volume(tmp_path / "expected/Doe^Jane.nii.gz")
    np.testing.assert_array_equal(ours.array, theirs.array)
    assert not ours.grid.differences(theirs.grid)
    assert (status, result["state"], left) == (200, "finished", [])
    assert result["warnings"]  # noise is no hippocampus
    assert "Doe" not in server.log.read_text()


def test_limits_crashes_and_the_end(tmp_path):
    """One server goes through all of it, since a start takes seconds."""
    bundle = write_bundle(tmp_path / "bundle")
    scan = write_scan(tmp_path / "scan.nii.gz").read_bytes()
    expected = predict(
        tmp_path / "scan.nii.gz", bundle, tmp_path / "expected", options=PredictOptions(overlays=False)
    )
    with served(tmp_path, bundle, "--max-seconds", "15", "--queue", "3") as server:
        place = server.post(scan)
        assert server.finished(place)[0] == 200
        assert server.ask("GET", f"{place}/label_map")[1] == expected[0].label_map.read_bytes()

        # of ten uploads at once three find a place
        first = server.network()
        first.suspend()
        statuses = []
        threads = [
            threading.Thread(target=lambda: statuses.append(server.ask("POST", "/scans", scan)[0]))
            for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [202] * 3 + [503] * 7
        first.resume()
        while b"segpipe_serve_results 3" not in server.ask("GET", "/metrics")[1]:
            time.sleep(0.1)

        # a computation that hangs is ended at the limit, and the next scan is answered
        first.suspend()
        status, told = server.finished(server.post(scan))
        assert (status, told["detail"][:36]) == (504, "the scan took longer than 15 s; uplo")
        assert not first.is_running()
        assert server.finished(server.post(scan))[0] == 200

        # a crash of the network's process is an answer, too
        second = server.network()
        second.suspend()
        crashing = server.post(scan)
        second.kill()
        assert server.finished(crashing)[0] == 500
        assert server.finished(server.post(scan))[0] == 200
        assert b"segpipe_serve_restarts 2" in server.ask("GET", "/metrics")[1]

        # a client that goes away in the middle of its upload leaves nothing
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(
                b"POST /scans HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n" + scan[:1000]
            )
            time.sleep(0.5)
        time.sleep(1)
        assert b"segpipe_serve_receiving 0" in server.ask("GET", "/metrics")[1]

        # SIGTERM while a scan is computed
        third = server.network()
        third.suspend()
        server.post(scan)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not third.is_running()
        assert list(server.scratch.iterdir()) == []
    assert "Traceback" not in server.log.read_text()


def test_a_killed_server_leaves_no_process_and_the_next_one_removes_its_scans(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    with served(tmp_path, bundle) as server:
        server.network().suspend()
        server.post(write_scan(tmp_path / "scan.nii.gz").read_bytes())
        network = server.network()
        server.process.kill()
        server.process.wait(30)
        network.resume()
        network.wait(60)
    (left,) = server.scratch.iterdir()
    assert [path.name for path in left.rglob("upload*.gz")] == ["upload.nii.gz"] or list(
        left.rglob("scan.nii.gz")
    )

    with scratch_folder(server.scratch) as folder:  # of the next server
        assert list(server.scratch.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "a token is needed"),
        (["--token-file", "nowhere"], "nowhere: the token cannot be read"),
    ],
)
def test_what_may_not_start_says_why(tmp_path, options, message):
    environment = {name: value for name, value in os.environ.items() if name != "SEGPIPE_SERVE_TOKEN"}
    command = [SEGPIPE, "serve", BUNDLES / "mri_hippocampus_unet", *options]

    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)

    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
