"""TensorBoard on a finished run in a real browser, opened by the command that the run prints.

Needs a Chromium with its driver; skipped without, unless SEGPIPE_REQUIRE_BROWSER=1 says that there must be
one. Screenshots go to SEGPIPE_SCREENSHOTS, or a temporary folder.
"""

import json
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


def wait_for(what, answer_of, seconds=60):
    """Return the first true value of `answer_of()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = answer_of()
        if answer:
            return answer
        time.sleep(0.2)
    pytest.fail(f"no {what} after {seconds} s")
    return None


def _open(group, count):
    """Click on a group's head; if the click closed the group, click again: open and closed heads look alike."""
    before = count()
    group.click()
    if wait_for("change of a group", lambda: (count() != before) and count()) < before:
        group.click()
        wait_for("group", lambda: count() == before)


@pytest.fixture(scope="module")
def address(finished_run, tmp_path_factory):
    """Return the address of a TensorBoard that the run's printed command started."""
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
def screenshots(tmp_path_factory):
    folder = Path(os.environ.get("SEGPIPE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def cards(browser, address, bundle, screenshots):
    """Return tag -> card of the page, with all groups opened."""
    from selenium.webdriver.common.by import By

    browser.get(f"{address}/?darkMode=false#timeseries")
    wait_for("card", lambda: browser.find_elements(By.TAG_NAME, "scalar-card"))
    browser.set_window_size(1500, 4500)
    for group in browser.find_elements(By.CSS_SELECTOR, "button.group-toolbar"):
        _open(group, lambda: len(browser.find_elements(By.TAG_NAME, "card-view")))

    def cards_by_tag():
        by_tag = {}
        for card in browser.find_elements(By.CSS_SELECTOR, "scalar-card, image-card"):
            by_tag["".join(card.text.split("\n")[:2]).strip()] = card
        return by_tag

    def complete():
        by_tag = cards_by_tag()
        images = browser.find_elements(By.CSS_SELECTOR, "image-card img")
        return len(images) >= 4 and all(browser.execute_script(DRAWN, i) for i in images) and by_tag

    by_tag = wait_for("complete page", complete)
    browser.save_screenshot(str(screenshots / f"{bundle.root.name}.png"))
    return by_tag


def test_figures_are_shown(cards, bundle):
    names = [row["name"] for row in bundle.parser("train")["_meta_"]["label_table"]][1:]
    for tag in (
        "loss/train",
        "optimizer/learning_rate",
        "optimizer/gradient_norm",
        "speed/seconds_per_epoch",
        "memory/peak_gb",
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


def test_each_case_is_one_tile_of_the_last_validation(cards, browser):
    from selenium.webdriver.common.by import By

    shown = [card for tag, card in cards.items() if tag.startswith("pictures/")]
    assert len(shown) == 2, sorted(cards)
    for card in shown:
        picture = card.find_element(By.TAG_NAME, "img")
        assert browser.execute_script(DRAWN, picture)
        assert picture.size["width"] > 100
        assert "Step 2" in card.text


def test_the_worst_case_and_the_confusion_are_shown(cards, browser):
    from selenium.webdriver.common.by import By

    for name in ("worst_case", "confusion"):
        (card,) = [card for tag, card in cards.items() if name in tag]
        assert browser.execute_script(DRAWN, card.find_element(By.TAG_NAME, "img"))
        assert "Step 2" in card.text


def test_dice_and_loss_are_the_first_groups_of_the_first_page(cards, browser):
    """TensorBoard sorts groups by name, and opens the first two."""
    from selenium.webdriver.common.by import By

    heads = [head.text.split("\n")[0] for head in browser.find_elements(By.CSS_SELECTOR, ".group-title")]

    assert heads[:3] == ["Pinned", "dice", "loss"], heads


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("custom_scalars", ["Learning", "Loss", "Dice of validation, by class"]),
        ("text", ["voxels of the training cases", "learning_rate", "processor"]),
        ("hparams", ["learning_rate", "dice/mean"]),
    ],
)
def test_the_other_pages_show_what_belongs_there(cards, browser, address, bundle, page, shown, screenshots):
    from selenium.webdriver.common.by import By

    browser.get("about:blank")
    browser.get(f"{address}/?darkMode=false#{page}")

    def complete():
        text = browser.find_element(By.TAG_NAME, "body").text
        return all(words in text for words in shown)

    wait_for(f"{shown} on {page}", complete)
    browser.save_screenshot(str(screenshots / f"{bundle.root.name}-{page}.png"))


def test_the_run_is_listed_with_its_hyper_parameters_and_its_dice(address, bundle):
    """The test requests the same data from the server as the page of hyper-parameters."""
    body = {"startIndex": 0, "sliceSize": 9, "allowedStatuses": ["STATUS_SUCCESS"]}
    request = urllib.request.Request(
        f"{address}/data/plugin/hparams/session_groups",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        (group,) = json.load(answer)["sessionGroups"]

    assert group["hparams"]["epochs"] == 2
    assert group["hparams"]["learning_rate"] == bundle.parser("train")["learning_rate"]
    values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    assert 0 <= values["dice/mean"] <= 1


def test_the_page_has_no_error(cards, browser):
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]

    assert [message for message in severe if "127.0.0.1" in message and "favicon" not in message] == []
