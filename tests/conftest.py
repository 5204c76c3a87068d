"""Fixtures that many rooms share."""

import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
_CHROMIUM_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # no page needs a network
    "--window-size=1500,1600",
]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts a process in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def empty_user_cache(tmp_path_factory):
    """Keep converted networks and measured times of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def no_handlers_of_closed_streams():
    """Remove the root logger's handlers on streams that an earlier test closed."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "closed", False):
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of a real data set; skip without SEGPIPE_DATA, fail where the data set is missing."""

    def folder(name: str) -> Path:
        root = os.environ.get("SEGPIPE_DATA")
        if not root:
            pytest.skip("SEGPIPE_DATA is not set")
        path = Path(root) / name
        if not path.is_dir():
            pytest.fail(f"SEGPIPE_DATA is set, but {path} is missing")
        return path

    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Return a headless Chromium; skip without one, unless SEGPIPE_REQUIRE_BROWSER=1 requires it."""
    required = os.environ.get("SEGPIPE_REQUIRE_BROWSER") == "1"
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        (pytest.fail if required else pytest.skip)("no chromium with chromedriver on this machine")
    if not required:
        pytest.importorskip("selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()
