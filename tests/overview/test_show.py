"""The page and the contact sheet of small data sets on disk."""

import base64
import html.parser
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segpipe.dataset import load_manifest, parse_manifest
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.overview import show_dataset
from segpipe.phantoms.files import write_phantom_dataset


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Six phantoms; tests only read them."""
    return write_phantom_dataset(tmp_path_factory.mktemp("data") / "set", num_cases=6, seed=1)


class Page(html.parser.HTMLParser):
    """Texts and pictures of a page; an unclosed tag is an error."""

    VOID = frozenset({"meta", "img", "br", "input", "rect", "line"})

    def __init__(self, path):
        super().__init__()
        self.open, self.texts, self.images, self.tags = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            data = dict(attributes)["src"].removeprefix("data:image/png;base64,")
            self.images.append(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ("style", "title"):
            self.texts.append(" ".join(data.split()))


def test_the_page_needs_no_other_file_and_shows_what_is_asked(phantoms, tmp_path):
    shown = show_dataset(load_manifest(phantoms), phantoms.parent, tmp_path / "out", cases=4)

    page = Page(shown.page)
    assert len(shown.cards) == 4
    assert len(page.images) == 8  # without and with the label map
    assert {"phantom_000", "phantom_005"} <= {*(card.case for card in shown.cards), *shown.left_out}
    assert "2 more cases have no errors and are not shown" in page.texts
    assert ", ".join(shown.left_out) in page.texts
    assert not re.search(r"(src|href)=\"(?!data:)", shown.page.read_text())
    assert "http" not in re.sub(r"data:[^\"]*", "", shown.page.read_text().split("</style>")[1])
    with Image.open(shown.sheet) as sheet:
        assert sheet.width == 2 * 24 + 4 * 320 + 3 * 16
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contact_sheet.png", "index.html"]


def test_the_same_seed_writes_the_same_page(phantoms, tmp_path):
    pages = [
        show_dataset(
            load_manifest(phantoms), phantoms.parent, tmp_path / f"{k}", cases=3, seed=seed
        ).page.read_bytes()
        for k, seed in enumerate((5, 5, 7))
    ]

    assert pages[0] == pages[1]
    assert pages[0] != pages[2]


def test_names_are_text_wherever_they_stand(phantoms, tmp_path):
    """Names of the data set, cases, classes, patients and files, and names in messages."""
    nasty = "<script>alert('&\"x')<!--"
    content = json.loads(phantoms.read_text())
    content["name"] = content["description"] = content["licence"] = nasty
    content["labels"] = {"0": "background", "1": nasty, "2": "posterior"}
    content["training"][0]["case"] = nasty
    content["training"][1]["image"] = [nasty]
    content["training"][1].pop("sha256", None)
    content["training"][0].pop("sha256", None)
    manifest = parse_manifest(content, "m.json")

    shown = show_dataset(manifest, phantoms.parent, tmp_path / "out", cases=9)

    page = Page(shown.page)
    assert "script" not in page.tags
    assert page.texts.count(nasty) >= 6
    assert f"with {nasty}" in page.texts


def test_bad_cases_are_named_and_stop_nothing(phantoms, tmp_path):
    shutil.copytree(phantoms.parent, tmp_path / "set")
    (tmp_path / "set" / "imagesTr" / "phantom_002.nii.gz").write_bytes(b"no scan")
    (tmp_path / "set" / "labelsTr" / "phantom_004.nii.gz").unlink()

    shown = show_dataset(load_manifest(phantoms), tmp_path / "set", tmp_path / "out")

    assert [finding.case for finding in shown.bad] == ["phantom_002", "phantom_004"]
    assert len(shown.cards) == 4
    texts = Page(shown.page).texts
    assert {"phantom_002", "labelsTr/phantom_004.nii.gz"} <= set(texts)
    assert "2 of 6 cases have errors and are left out of classes, sizes and intensities" in texts


def test_where_no_case_is_sound_the_page_says_so_and_there_is_no_sheet(phantoms, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "contact_sheet.png").write_bytes(b"of an earlier run")

    shown = show_dataset(load_manifest(phantoms), tmp_path / "set", tmp_path / "out", overwrite=True)

    assert (shown.sheet, len(shown.bad), len(shown.cards)) == (None, 6, 0)
    assert "Cases that cannot be shown" in Page(shown.page).texts
    assert not (tmp_path / "out" / "contact_sheet.png").exists()


def test_unlabelled_test_cases_are_shown_without_label_map(phantoms, tmp_path):
    manifest = load_manifest(phantoms)
    test = tuple(replace(case, label=None, fold=None, sha256={}) for case in manifest.training[4:])
    manifest = replace(manifest, training=manifest.training[:4], test=test)

    shown = show_dataset(manifest, phantoms.parent, tmp_path / "out")

    cards = {card.case: card for card in shown.cards}
    assert [cards[case.case].tinted is None for case in (*manifest.training, *test)] == [False] * 4 + [
        True
    ] * 2
    assert (cards["phantom_004"].place, cards["phantom_004"].remarks) == ("test", ["no label map"])
    assert len(Page(shown.page).images) == 4 * 2 + 2


def test_a_window_is_for_images_of_a_class(phantoms, tmp_path):
    with pytest.raises(SegpipeError, match="--window is for images with a class or findings"):
        show_dataset(load_manifest(phantoms), phantoms.parent, tmp_path / "out", window=(0, 1))


def test_colours_are_those_of_a_bundle_whatever_the_case_of_its_names(phantoms, tmp_path):
    rows = [("background", (0, 0, 0)), ("Posterior", (10, 200, 30)), ("ANTERIOR", (250, 0, 250))]
    table = LabelTable.from_rows(
        {"index": k, "name": name, "color": color, "value": k} for k, (name, color) in enumerate(rows)
    )

    shown = show_dataset(load_manifest(phantoms), phantoms.parent, tmp_path / "out", table)

    assert [(row.name, row.color) for row in shown.summary.classes] == [
        ("background", (0, 0, 0)),
        ("anterior", (250, 0, 250)),
        ("posterior", (10, 200, 30)),
    ]
    assert shown.summary.parts[0].cases_with == {"anterior": 6, "posterior": 6}
    tinted = np.concatenate([card.tinted.reshape(-1, 3) for card in shown.cards])
    assert ((tinted == (250, 0, 250)).all(axis=-1)).any()
    with pytest.raises(SegpipeError, match="labels differ"):
        show_dataset(
            replace(load_manifest(phantoms), labels={0: "background", 1: "cyst"}),
            phantoms.parent,
            tmp_path / "two",
            table,
        )


def test_what_would_be_replaced_or_lie_among_the_scans_is_refused(phantoms, tmp_path):
    manifest = load_manifest(phantoms)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")

    with pytest.raises(
        SegpipeError, match=r"index\.html: exists already; choose another --output, or add --over"
    ):
        show_dataset(manifest, phantoms.parent, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_text() == "mine"
    with pytest.raises(SegpipeError, match="lies inside the data set's folder"):
        show_dataset(manifest, phantoms.parent, phantoms.parent / "page")
    with pytest.raises(SegpipeError, match="is no folder"):
        show_dataset(manifest, tmp_path / "none", tmp_path / "page")
    assert not (tmp_path / "page").exists()


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "views"), [("hippocampus", True), ("covid_ct_512", False)])
def test_the_shipped_sets_can_be_looked_at(real_data, tmp_path, name, views):
    manifest = load_manifest(name)

    shown = show_dataset(manifest, real_data(name), tmp_path / "out", cases=10)

    assert (len(shown.cards), len(shown.left_out), shown.bad) == (10, len(manifest.training) - 10, [])
    assert shown.summary.notes[0].startswith(f"none of the {len(manifest.test)} test cases is below")
    assert {card.place for card in shown.cards} == {f"fold {fold}" for fold in range(5)}
    assert {name for card in shown.cards for name in card.classes} == {
        row.name for row in shown.summary.classes[1:]
    }
    assert all(bool(card.view) == views and card.tinted is not None for card in shown.cards)
    assert len(Page(shown.page).images) == 20
