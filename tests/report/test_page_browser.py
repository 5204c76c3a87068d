"""The page in a browser: its table sorts, searches and changes class; the page fits a phone's width."""

import pytest
from pages import shown_at

from segpipe.evaluation.scoring import files_by_name
from segpipe.report.context import ReportContext
from segpipe.report.example_cases import DrawnScan
from segpipe.report.write import write_report
from segpipe.volumes import read_volume, write_volume

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(browser, scores, summary, evaluated, tmp_path):
    write_report(scores, summary, tmp_path, files_by_name(evaluated / "images"), ReportContext())
    browser.get(f"file://{tmp_path}/report.html")
    return browser


def column(browser, number):
    return [
        cell.text for cell in browser.find_elements("css selector", f"#cases tbody td:nth-child({number})")
    ]


def test_cases_are_sorted_found_and_shown_by_class(opened):
    from selenium.webdriver.support.ui import Select

    assert column(opened, 1) == ["p1_a", "p1_b", "p2_a"]

    opened.find_elements("css selector", "#cases th button")[2].click()  # Dice, the lowest first
    assert column(opened, 1) == ["p2_a", "p1_b", "p1_a"]
    opened.find_elements("css selector", "#cases th button")[2].click()
    assert column(opened, 1) == ["p1_a", "p1_b", "p2_a"]

    Select(opened.find_element("id", "class")).select_by_visible_text("</script> <b>tumour")
    assert column(opened, 3)[-1] == "0.000"
    assert column(opened, 5)[-1] == "missed"

    opened.find_element("id", "find").send_keys("P2")
    assert column(opened, 1) == ["p2_a"]
    assert opened.find_element("id", "count").text == "1 of 3 cases"
    assert opened.get_log("browser") == []


def test_a_case_can_be_scrolled_through(opened):
    """The patient's right is on the left, as in the pictures; one label map is visible at a time."""
    from selenium.webdriver.support.ui import WebDriverWait

    opened.find_element("css selector", "button.scroll").click()
    box = opened.find_element("css selector", ".viewer")
    WebDriverWait(opened, 60).until(lambda _: box.get_attribute("data-ready"))

    assert [pressed.text for pressed in box.find_elements("css selector", "[aria-pressed=true]")] == [
        "prediction"
    ]
    shown = [box.screenshot_as_png]
    for button in box.find_elements("tag name", "button")[::2]:
        button.click()
        shown.append(box.screenshot_as_png)
    assert len(set(shown)) == 3
    fetched = opened.execute_script("return performance.getEntriesByType('resource').map((own) => own.name)")
    assert [address for address in fetched if not address.startswith(("data:", "blob:"))] == []


def test_each_channel_of_a_scan_can_be_shown(browser, scores, summary, evaluated, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    first = evaluated / "images" / "p2_a.nii.gz"
    volume = read_volume(first)
    write_volume(500 - volume.array, volume.grid, tmp_path / "second.nii.gz")
    drawn = DrawnScan((first, tmp_path / "second.nii.gz"), ("T1", "FLAIR"))
    write_report(scores, summary, tmp_path, {"p2_a": drawn}, ReportContext())
    browser.get(f"file://{tmp_path}/report.html")
    browser.find_element("css selector", "button.scroll").click()
    box = browser.find_element("css selector", ".viewer")
    WebDriverWait(browser, 60).until(lambda _: box.get_attribute("data-ready"))

    shown = {}
    for name in ("scan alone", "FLAIR", "T1", "prediction", "FLAIR"):
        box.find_element("xpath", f".//button[text()='{name}']").click()
        pressed = [one.text for one in box.find_elements("css selector", "[aria-pressed=true]")]
        shown[tuple(pressed)] = box.find_element("tag name", "canvas").screenshot_as_png

    assert len(shown) == len(set(shown.values())) == 4
    assert ("prediction", "FLAIR") in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(opened, width, scheme):
    assert shown_at(opened, width, scheme) <= width
