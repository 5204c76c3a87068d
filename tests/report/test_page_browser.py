"""The page in a browser: its table sorts, searches and changes class; the page fits a phone's width."""

import io

import numpy as np
import pytest
from pages import open_viewer, shown_at, wait_until, window_of
from PIL import Image

from segpipe.evaluation.scoring import files_by_name, score_folder
from segpipe.evaluation.summary import summarise
from segpipe.report.context import ReportContext
from segpipe.report.example_cases import DrawnScan
from segpipe.report.write import write_report
from segpipe.volumes import Grid, read_volume, write_label_map, write_volume

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
    box = open_viewer(opened)

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


@pytest.mark.parametrize(
    ("width", "height", "canvas_size"), [(1400, 1000, (1104, 560)), (400, 700, (344, 490))]
)
def test_the_wheel_moves_through_the_slices_of_a_large_picture(opened, width, height, canvas_size):
    """The planes fill 70 % of the window's height, 560 pixels at most; the page itself stays where it is."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    with window_of(opened, width, height):
        box = open_viewer(opened)
        canvas, voxel = (box.find_element("css selector", name) for name in ("canvas", "[data-voxel]"))
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        top, before, picture = (
            opened.execute_script("return window.scrollY"),
            voxel.text,
            canvas.screenshot_as_png,
        )
        # each layout has a plane in the upper left corner
        corner = [60 - length // 2 for length in canvas_size]
        ActionChains(opened).scroll_from_origin(ScrollOrigin.from_element(canvas, *corner), 0, 120).perform()
        wait_until(opened, lambda: voxel.text != before)

        assert (canvas.size["width"], canvas.size["height"]) == canvas_size
        assert before == "voxel 4, 4, 3"  # of the reference in 2:8, 2:8, 2:6
        steps = [abs(new - old) for new, old in zip(indices(voxel.text), indices(before), strict=True)]
        assert sorted(steps) == [0, 0, 1]
        assert canvas.screenshot_as_png != picture
        assert opened.execute_script("return window.scrollY") == top


def test_a_stack_of_few_slices_is_scrolled_through_slice_by_slice(browser, tmp_path):
    """Eight slices of 6 mm, which lie across the file's first axis: the wheel moves along this axis alone."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    labels = np.zeros((8, 20, 30), np.uint8)
    labels[2:7, 5:10, 5:12] = 1
    grid = Grid.from_affine(
        labels.shape, np.array([[0, 1, 0, 3], [0, 0, 1, 0], [6, 0, 0, 9], [0, 0, 0, 1.0]])
    )
    for folder in ("predictions", "references"):
        write_label_map(labels, grid, tmp_path / folder / "heart.nii.gz")
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    write_report(scores, summarise(scores), tmp_path, {}, ReportContext())
    browser.get(f"file://{tmp_path}/report.html")

    box = open_viewer(browser)
    canvas, voxel = (box.find_element("css selector", name) for name in ("canvas", "[data-voxel]"))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    assert voxel.text == "voxel 4, 7, 8"
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 120).perform()
    wait_until(browser, lambda: voxel.text != "voxel 4, 7, 8")

    assert voxel.text in ("voxel 3, 7, 8", "voxel 5, 7, 8")


def indices(text):
    return [int(index) for index in text.removeprefix("voxel ").split(", ")]


def test_each_channel_of_a_scan_can_be_shown(browser, scores, summary, evaluated, tmp_path):
    first = evaluated / "images" / "p2_a.nii.gz"
    volume = read_volume(first)
    write_volume(500 - volume.array, volume.grid, tmp_path / "second.nii.gz")
    drawn = DrawnScan((first, tmp_path / "second.nii.gz"), ("T1", "FLAIR"))
    write_report(scores, summary, tmp_path, {"p2_a": drawn}, ReportContext())
    browser.get(f"file://{tmp_path}/report.html")
    box = open_viewer(browser)

    shown = {}
    for name in ("scan alone", "FLAIR", "T1", "prediction", "FLAIR"):
        box.find_element("xpath", f".//button[text()='{name}']").click()
        pressed = [one.text for one in box.find_elements("css selector", "[aria-pressed=true]")]
        shown[tuple(pressed)] = box.find_element("tag name", "canvas").screenshot_as_png

    assert len(shown) == len(set(shown.values())) == 4
    assert ("prediction", "FLAIR") in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_beyond_a_phone_has_a_shadow_at_that_side(opened, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    with window_of(opened, 390):
        box = opened.find_element("css selector", ".box")
        shadows = []
        for left in (0, 100, 9999):
            opened.execute_script("arguments[0].scrollLeft = arguments[1]", box, left)
            head = np.asarray(Image.open(io.BytesIO(box.screenshot_as_png)).convert("L")).astype(int)[8:14]
            card = np.median(head)
            shadows.append([bool(card - side.mean() > 5) for side in (head[:, 2:6], head[:, -6:-2])])

    assert shadows == [[False, True], [True, True], [True, False]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(opened, width, scheme):
    assert shown_at(opened, width, scheme) <= width
