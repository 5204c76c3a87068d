"""The page and the contact sheets of sets of images on disk."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from made_images import class_manifest, findings_manifest, pixels, save, write_images
from pages import require_whole, shown_at
from PIL import Image

from segpipe.dataset import Case, load_manifest, parse_manifest
from segpipe.errors import SegpipeError
from segpipe.labels import class_color
from segpipe.overview import show_dataset

NASTY = "<script>alert('&\"x')<!--"


class ImagePage(HTMLParser):
    """Texts, tags and pictures' names of a page."""

    def __init__(self, path):
        super().__init__()
        self.texts, self.images, self.tags = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["alt"])

    def handle_data(self, data):
        self.texts.append(" ".join(data.split()))


@pytest.fixture
def six(tmp_path):
    return write_images(tmp_path / "set", [f"c{number}" for number in range(6)], (40, 60))


def test_each_class_has_a_sheet_of_the_asked_size(six, tmp_path):
    shown = show_dataset(class_manifest("aaaabb"), six, tmp_path / "out", cases=3)

    page = ImagePage(shown.page)
    assert len(shown.cards) == len(page.images) == 5
    assert len(shown.left_out) == 1
    assert {"3 of 4", "2 of 2", "1 more cases have no errors and are not shown"} <= set(page.texts)
    require_whole(shown.page.read_text(encoding="utf-8"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contact_sheet.png", "index.html"]


def test_the_sheet_shows_the_images_under_their_class(six, tmp_path):
    """The first image of class a, 60 x 40, is drawn 160 pixels wide; the swatch has the colour of the class."""
    save(six / "c0.png", np.pad(np.full((40, 30), 255, np.uint8), ((0, 0), (30, 0))))

    shown = show_dataset(class_manifest("abbbbb"), six, tmp_path / "out", cases=1)

    with Image.open(shown.sheet) as sheet:
        drawn = np.asarray(sheet)
    assert tuple(drawn[24 + 30 + 10, 24 + 7]) == class_color(1)
    top = 24 + 30 + 26  # margin, title, name
    assert drawn.shape[1] == 2 * 24 + 3 * 168 - 8
    assert drawn[top + 80, 24 + 30].tolist() == [0, 0, 0]
    assert drawn[top + 80, 24 + 130].tolist() == [255, 255, 255]


def test_an_image_of_several_findings_is_in_each_sheet(six, tmp_path):
    present = [("Effusion", "Mass"), ("Effusion",), (), (), (), ()]
    unknown = [(), ("Mass",), (), (), (), ()]

    shown = show_dataset(findings_manifest(present, unknown=unknown), six, tmp_path / "out")

    page = ImagePage(shown.page)
    assert page.images.count("c0") == 2
    assert len(page.images) == 2 + 1 + 4
    assert len(shown.cards) == 6
    assert {"also Mass", "unknown: Mass", "No Finding", "Findings that occur together"} <= set(page.texts)
    assert [row.present for row in shown.summary.findings] == [2, 1]


def test_names_are_text_wherever_they_stand(six, tmp_path):
    content = class_manifest("ababab", labels=("a", "b")).to_json()
    content["name"] = content["description"] = content["licence"] = NASTY
    content["labels"]["1"] = NASTY
    for number in (1, 3, 5):
        content["training"][number]["classes"] = [NASTY]
    content["training"][0]["case"] = NASTY
    content["training"][2]["image"] = [NASTY]
    manifest = parse_manifest(content, "m.json")

    shown = show_dataset(manifest, six, tmp_path / "out")

    page = ImagePage(shown.page)
    assert "script" not in page.tags
    assert page.texts.count(NASTY) >= 6
    assert NASTY in page.images


def test_bad_images_are_named_and_stop_nothing(six, tmp_path):
    (six / "c1.png").write_bytes(b"no image")
    save(six / "c2.png", np.zeros((4, 4), np.uint8))

    shown = show_dataset(class_manifest("ababab"), six, tmp_path / "out")

    assert [finding.case for finding in shown.bad] == ["c1", "c2"]
    assert len(shown.cards) == 4
    texts = ImagePage(shown.page).texts
    assert "Images that cannot be shown" in texts
    assert "2 of 6 cases have errors: only the table of parts counts them" in texts


def test_where_no_image_can_be_read_there_is_no_sheet(tmp_path):
    (tmp_path / "set").mkdir()

    shown = show_dataset(class_manifest("ab"), tmp_path / "set", tmp_path / "out")

    assert (shown.sheet, len(shown.bad), shown.cards) == (None, 2, [])


def test_unlabelled_test_images_have_a_sheet_of_their_own(six, tmp_path):
    save(six / "t.png", pixels(99))

    shown = show_dataset(class_manifest("ababab", test=[Case("t", ("t.png",))]), six, tmp_path / "out")

    assert "no class" in ImagePage(shown.page).texts
    assert next(card.place for card in shown.cards if card.case == "t") == "test"


def test_the_same_seed_writes_the_same_page(six, tmp_path):
    pages = [
        show_dataset(class_manifest("ababab"), six, tmp_path / f"{k}", cases=1, seed=seed).page.read_bytes()
        for k, seed in enumerate((3, 3, 4))
    ]

    assert pages[0] == pages[1] != pages[2]


def test_label_colours_and_missing_folders_are_refused(six, tmp_path):
    manifest = class_manifest("ababab")

    with pytest.raises(SegpipeError, match="--labels is for the colours of label maps"):
        show_dataset(manifest, six, tmp_path / "out", replace(manifest, target="mask").label_table())
    with pytest.raises(SegpipeError, match="is no folder"):
        show_dataset(manifest, tmp_path / "none", tmp_path / "out")


@pytest.mark.browser
def test_the_page_fits_a_phone_light_and_dark_without_a_script_error(browser, six, tmp_path):
    names = tuple(f"Finding {number}" for number in range(12))
    present = [names[number : number + 2] for number in range(6)]
    shown = show_dataset(findings_manifest(present, labels=names), six, tmp_path / "out")

    browser.get(f"file://{shown.page}")

    for scheme in ("light", "dark"):
        assert shown_at(browser, 420, scheme) <= 420
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert widths == [60] * 12


@pytest.mark.realdata
def test_the_shipped_sets_of_images_can_be_looked_at(real_data, tmp_path):
    manifest = replace(load_manifest("oct2017"), test=())

    shown = show_dataset(manifest, real_data("oct2017"), tmp_path / "out", cases=5)

    assert (len(shown.cards), len(shown.left_out), shown.bad) == (20, len(manifest.training) - 20, [])
    assert {card.place for card in shown.cards} == {f"fold {fold}" for fold in range(5)}
    assert [row.cases for row in shown.summary.classes] == [163, 156, 143, 155]
    assert shown.summary.sizes == {"512 x 496": [117, 88, 121, 144], "768 x 496": [46, 68, 22, 11]}
