"""The built documentation in a browser without a network: complete, styled, with diagrams, as wide as the screen."""

import functools
import http.server
import importlib.util
import os
import subprocess
import threading
import time

import pytest

pytestmark = pytest.mark.browser

PAGES = [
    "index.html",
    "tutorial.html",
    "tutorial/lung_ct.zh.html",
    "howto/predict.html",
    "reference/command_line.html",
    "reference/outputs.html",
    "reference/python_api.html",
    "explanation/rooms.html",
    "explanation/scan_warnings.html",
]
WITH_DIAGRAMS = {"index.html": 1, "explanation/rooms.html": 2, "explanation/scan_warnings.html": 1}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(pytestconfig, tmp_path_factory):
    """Build the documentation and serve it; skip without MkDocs, unless there must be a browser."""
    if importlib.util.find_spec("material") is None and os.environ.get("SEGPIPE_REQUIRE_BROWSER") != "1":
        pytest.skip("MkDocs is not installed; scripts/docs.sh installs it")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([pytestconfig.rootpath / "scripts" / "docs.sh", folder], check=True, timeout=600)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def shown(browser, address, width=1280, scheme="light"):
    """Open a page for the first time, on a screen of some width, light or dark, and wait for its diagrams."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.get("about:blank")  # the page before would store its colours at the change of scheme
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd(
        "Storage.clearDataForOrigin", {"origin": address, "storageTypes": "local_storage"}
    )
    browser.get_log("browser")
    browser.get(address)
    deadline = time.monotonic() + 60
    while browser.find_elements("css selector", "pre.mermaid") and time.monotonic() < deadline:
        time.sleep(0.1)


def diagrams(browser):
    """Return how many drawn diagrams a page has; Material puts each into a closed shadow root."""
    waiting = [browser.execute_cdp_cmd("DOM.getDocument", {"depth": -1, "pierce": True})["root"]]
    drawn = 0
    while waiting:
        node = waiting.pop()
        attributes = node.get("attributes", [])
        if node["nodeName"] == "svg" and any(value.startswith("__mermaid") for value in attributes):
            drawn += 1
        waiting += node.get("children", []) + node.get("shadowRoots", [])
    return drawn


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_whole_without_a_network(browser, site, page):
    shown(browser, f"{site}/{page}")

    fetched = browser.execute_script("return performance.getEntriesByType('resource').map((own) => own.name)")
    assert fetched
    assert [address for address in fetched if not address.startswith((site, "data:", "blob:"))] == []
    assert browser.get_log("browser") == []
    header = browser.find_element("css selector", ".md-header")
    assert header.value_of_css_property("position") == "sticky"
    assert diagrams(browser) == WITH_DIAGRAMS.get(page, 0)


@pytest.mark.parametrize(("scheme", "name"), [("light", "default"), ("dark", "slate")])
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_wider_than_a_phone(browser, site, page, scheme, name):
    shown(browser, f"{site}/{page}", width=390, scheme=scheme)

    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.find_element("tag name", "body").get_attribute("data-md-color-scheme") == name


def test_the_search_finds_a_command(browser, site):
    from selenium.webdriver.support.ui import WebDriverWait

    shown(browser, f"{site}/index.html")
    browser.execute_script("document.querySelector('#__search').click()")
    browser.find_element("css selector", "input[name=query]").send_keys("reference-ranges")

    paths_of_results = (
        "[...document.querySelectorAll('.md-search-result__link')].map((link) => link.pathname)"
    )
    pages = WebDriverWait(browser, 30).until(lambda _: browser.execute_script(f"return {paths_of_results}"))
    assert "/reference/command_line.html" in pages
