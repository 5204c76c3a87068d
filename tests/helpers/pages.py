"""Requirements of every HTML page: complete, without network access, with data for its script."""

import contextlib
import json
import re
from html.parser import HTMLParser


class Tags(HTMLParser):
    """The open tags of a page, and its links to the network."""

    def __init__(self):
        super().__init__()
        self.open, self.outside = [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "action") and not value.startswith("data:"):
                self.outside.append(value)
        if tag not in ("meta", "img", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def require_whole(text):
    """Refuse a page with an unclosed tag or with a request to the network."""
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.outside == []
    assert "http" not in re.sub('id="niivue-code">.*?</script>', "", text, flags=re.DOTALL)


def table_of(text):
    """Return the data of the page's table of cases."""
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))


@contextlib.contextmanager
def window_of(browser, width, height=900):
    """Give the page a window of some size; a narrow one is a phone's."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def wait_until(browser, is_true, seconds=60):
    """Wait until a function without arguments returns a true value; return the value."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds).until(lambda _: is_true())


def open_viewer(browser):
    """Click on the first "Scroll through" of a report; return the viewer's element once it shows the case."""
    browser.find_element("css selector", "button.scroll").click()
    box = browser.find_element("css selector", ".viewer")
    wait_until(browser, lambda: box.get_attribute("data-ready"))
    return box


def shown_at(browser, width, scheme):
    """Show a page on a screen of some width, light or dark; return the page's width."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    with window_of(browser, width):
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 22, 27)") == (scheme == "dark")
    return wide
