"""What every page must be: whole, without a network, with data that its script can read."""

import json
import re
from html.parser import HTMLParser


class Tags(HTMLParser):
    """Which tags are open, and what points outside."""

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
    """Refuse a page with a tag that is not closed, or that fetches anything."""
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.outside == []
    assert "http" not in re.sub('id="niivue-code">.*?</script>', "", text, flags=re.DOTALL)


def table_of(text):
    """Return what the table of cases is made from."""
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))


def shown_at(browser, width, scheme):
    """Show a page as on a screen of some width, light or dark; return how wide it is."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert (background == "rgb(18, 22, 27)") == (scheme == "dark")
    return wide
