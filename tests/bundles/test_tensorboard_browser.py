"""What a person sees who follows the printed line: TensorBoard on a finished run, in a real browser.

Needs a Chromium with its driver; skipped without, unless SEGPIPE_REQUIRE_BROWSER=1 says that there must be
one. Screenshots go to SEGPIPE_SCREENSHOTS, or a temporary folder.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DRAWN = "return arguments[0].complete && arguments[0].naturalWidth > 100"


def wait_for(what, found, seconds=60):
    """Return the first true answer of `found`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = found()
        if answer:
            return answer
        time.sleep(0.2)
    pytest.fail(f"no {what} after {seconds} s")
    return None


def _open(group, count):
    """Click on a group's head; where that closed it, once more: open and closed heads look alike."""
    before = count()
    group.click()
    if wait_for("change of a group", lambda: (count() != before) and count()) < before:
        group.click()
        wait_for("group", lambda: count() == before)


@pytest.fixture(scope="module")
def address(finished_run, tmp_path_factory):
    """Return the address of a TensorBoard on the run, started as the run's first lines say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(finished_run / "tensorboard")]
    with (tmp_path_factory.mktemp("server") / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log
        )

    def answers():
        assert server.poll() is None, Path(log.name).read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs", timeout=5) as answer:
                return answer.read() not in (b"[]", b"")
        except OSError:
            return False

    wait_for("TensorBoard", answers)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def cards(browser, address, bundle, tmp_path_factory):
    """Return tag -> card of everything that the page shows, all groups opened."""
    from selenium.webdriver.common.by import By

    browser.get(f"{address}/?darkMode=false#timeseries")
    wait_for("card", lambda: browser.find_elements(By.TAG_NAME, "scalar-card"))
    browser.set_window_size(1500, 4500)
    for group in browser.find_elements(By.CSS_SELECTOR, "button.group-toolbar"):
        _open(group, lambda: len(browser.find_elements(By.TAG_NAME, "card-view")))

    def found():
        by_tag = {}
        for card in browser.find_elements(By.CSS_SELECTOR, "scalar-card, image-card"):
            by_tag["".join(card.text.split("\n")[:2]).strip()] = card
        return by_tag

    def complete():
        by_tag = found()
        images = browser.find_elements(By.CSS_SELECTOR, "image-card img")
        return len(images) >= 6 and all(browser.execute_script(DRAWN, i) for i in images) and by_tag

    by_tag = wait_for("complete page", complete)
    folder = Path(os.environ.get("SEGPIPE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(folder / f"{bundle.root.name}.png"))
    return by_tag


def test_figures_are_shown(cards, bundle):
    names = [row["name"] for row in bundle.parser("train")["_meta_"]["label_table"]][1:]
    for tag in (
        "loss/train",
        "learning_rate",
        "speed/seconds_per_epoch",
        "dice/mean",
        *(f"dice/{n}" for n in names),
    ):
        assert any(shown.startswith(tag) for shown in cards), (tag, sorted(cards))


def test_a_figure_is_drawn_with_its_value(cards, browser):
    """The table below a chart has the value at the last step."""
    from selenium.webdriver.common.by import By

    card = next(card for tag, card in cards.items() if tag.startswith("dice/mean"))

    chart = card.find_element(By.CSS_SELECTOR, "line-chart")
    assert chart.size["width"] > 100
    assert chart.size["height"] > 100
    assert "0." in card.text.split("Value")[-1]


def test_pictures_of_image_reference_and_prediction_are_shown(cards, browser):
    from selenium.webdriver.common.by import By

    for name in ("1_image", "2_reference", "3_prediction"):
        shown = [card for tag, card in cards.items() if tag.split(".")[0].endswith(name)]
        assert len(shown) == 2, (name, sorted(cards))
        for card in shown:
            picture = card.find_element(By.TAG_NAME, "img")
            assert browser.execute_script(DRAWN, picture)
            assert picture.size["width"] > 100
            assert "Step 2" in card.text


def test_the_page_has_no_error(cards, browser):
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]

    assert [message for message in severe if "127.0.0.1" in message and "favicon" not in message] == []
