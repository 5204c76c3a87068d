"""`mlflow ui` on the database of a tracked run in a real browser, opened by the command that the run prints.

Needs a Chromium with its driver; skipped without, unless SEGPIPE_REQUIRE_BROWSER=1 says that there must be one.
"""

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = {one.name for one in importlib.metadata.distributions()}
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif("mlflow" not in INSTALLED, reason="needs the extra mlflow"),
]
TRACK = """
import logging, sys
from types import SimpleNamespace
from pathlib import Path
from segpipe.training.mlflow_run import MLflowRun
from segpipe.training.run_folder import RunFolder
from segpipe.training.tracking_settings import address_of

folder = RunFolder(sys.argv[1], "watched")
folder.start({"bundle_root": "my_bundle", "epochs": 3, "learning_rate": 0.003, "tracking": "mlflow"})
run = MLflowRun(folder, address_of(None, Path(sys.argv[1])))
state = SimpleNamespace(max_epochs=3, epoch_length=1, epoch=3)
engine = SimpleNamespace(logger=logging.getLogger(), state=state)
for epoch in (1, 2, 3):
    run.add({"loss/train": 1 / epoch, "dice/mean": epoch / 4}, epoch)
    run.send(engine)
run.end(engine, "FINISHED")
"""


def wait_for(what, answer_of, seconds=300):
    """Return the first true value of `answer_of()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = answer_of()
        if answer:
            return answer
        time.sleep(0.3)
    pytest.fail(f"no {what} after {seconds} s")
    return None


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Return the address of an `mlflow ui` that sends no usage statistics."""
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", TRACK, str(folder)], check=True, env=environment)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{folder}/mlruns.db"]
    with (folder / "server.txt").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )

    def answers():
        assert server.poll() is None, (folder / "server.txt").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        wait_for("MLflow", answers)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_the_run_its_parameters_and_figures_are_shown(address, browser):
    from selenium.webdriver.common.by import By

    def shows(*words):
        def all_there():
            text = browser.find_element(By.TAG_NAME, "body").text
            return all(word in text for word in words)

        return all_there

    browser.set_window_size(1500, 2500)
    browser.get(f"{address}/#/experiments/1/runs")
    wait_for("run in the table", shows("my_bundle", "watched"))

    links = browser.find_elements(By.PARTIAL_LINK_TEXT, "watched")
    browser.get(links[0].get_attribute("href"))

    wait_for("page of the run", shows("watched", "learning_rate", "0.003", "dice/mean", "loss/train", "0.75"))
    folder = os.environ.get("SEGPIPE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / "mlflow.png"))
