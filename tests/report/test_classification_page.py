"""The page of a classification: complete without a network, escaped, with the worst mistakes and their pictures."""

import numpy as np
import pytest
from pages import require_whole, shown_at, table_of
from PIL import Image

from segpipe.calibration import Calibration
from segpipe.evaluation.classification import ClassifiedImages, summarise_images
from segpipe.evaluation.classification.comparison import compare_images
from segpipe.report.classification import Unscored, write_classification_report
from segpipe.report.classification_comparison import write_classification_comparison
from segpipe.report.context import ReportContext
from segpipe.report.mistakes import confident_mistakes

HOSTILE = "</script> <b>DME"
NAMES = ("CNV", HOSTILE, "NORMAL")
COUNT = 60


def images_of(target, folder=None, seed=0, names=NAMES):
    """Return images with a temperature of 2; the first ten have a file."""
    random = np.random.default_rng(seed)
    truth = np.arange(COUNT) % 3
    logits = 2 * np.eye(3)[truth] + random.normal(0, 1.5, (COUNT, 3))
    count = 1
    if target == "findings":
        count, truth = 3, np.eye(3)[truth]
        truth[:4, 2] = np.nan
        truth[:, 1] = np.arange(COUNT) < 4  # too few for an interval
        logits -= 1
    files = []
    for number in range(COUNT):
        path = "" if folder is None else folder / f"{number}.png"
        if path and number < 10:
            Image.fromarray(random.integers(0, 255, (30, 20), dtype=np.uint8)).save(path)
        files.append(str(path))
    calibration = Calibration(names, target, (2.0,) * count, (0.0,) * count, (0.5,) * 3)
    cases = [f"{HOSTILE}{number}" for number in range(COUNT)]
    patients = [f"p{number // 2}" for number in range(COUNT)]
    return ClassifiedImages.of_logits(cases, patients, logits, truth, calibration, files)


@pytest.fixture(scope="module", params=["class", "findings"])
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    images = images_of(request.param, folder)
    summary = summarise_images(images, resamples=200)
    context = ReportContext(warnings=summary.cautions, sections=[("Data", [("set", HOSTILE)])])
    unscored = Unscored({"broken": f"cannot be read {HOSTILE}"}, ("stranger",))
    write_classification_report(images, summary, folder, context, unscored, "Trial")
    return images, summary, folder / "report.html"


def test_the_page_is_whole_and_escaped(page):
    text = page[2].read_text()

    require_whole(text)
    assert HOSTILE not in text
    assert "1 image has no prediction" in text
    assert "1 prediction has no reference: stranger" in text


def test_every_score_stands_in_its_table(page):
    images, summary, path = page
    text = path.read_text()

    for metric, score in summary.overall.items():
        assert f"<td>{score.value:.3f}<small>{score.low:.3f} to {score.high:.3f}</small></td>" in text, metric
    auroc = summary.by_name["CNV"].scores["auroc"]
    assert f"<td>{auroc.value:.3f}<small>{auroc.low:.3f} to {auroc.high:.3f}</small></td>" in text
    assert f"{summary.floor.mean:.3f}<small>95 % below {summary.floor.high:.3f}" in text
    if images.categories.exclusive:
        assert f"<td>{summary.confusion[0, 0]}" not in text  # in a shaded cell
        assert f">{summary.confusion[0, 0]}<small>" in text
    else:
        assert "4 positives: too few for an interval" in text
        assert "Confusion matrix" not in text


def test_the_table_has_every_image(page):
    images, _, path = page
    table = table_of(path.read_text())

    assert len(table["cases"]) == COUNT
    row = table["values"][0][0]
    assert row[:2] == [images.truth_in_words(0), images.decision_in_words(0)]
    assert row[-3:] == pytest.approx(images.probabilities[0].tolist(), abs=1e-5)
    assert [column.get("words", False) for column in table["metrics"]][:3] == [True, True, False]


def test_the_most_confident_mistakes_come_first(tmp_path):
    images = images_of("class", tmp_path)

    groups = confident_mistakes(images)

    for group in groups:
        place = images.categories.index(group.name)
        wrong = [row for row in range(COUNT) if images.targets[row] == place and images.chosen[row] != place]
        ranked = sorted(wrong, key=lambda row: -images.confidence[row])
        assert [mistake.case for mistake in group.shown] == [images.cases[row] for row in ranked[:6]]
        assert group.summary.startswith(f"{len(wrong)} of 20 images")
        for mistake, row in zip(group.shown, ranked, strict=False):
            assert (mistake.picture is not None) == (row < 10)
            assert mistake.file == images.files[row]
            assert mistake.probabilities[0].endswith(f"{images.confidence[row]:.3f}")
    assert sum(len(group.shown) for group in groups) > 5


def test_findings_are_missed_or_claimed():
    images = images_of("findings")

    (effusion, *_) = confident_mistakes(images)

    missed = [mistake for mistake in effusion.shown if mistake.predicted == "absent"]
    claimed = [mistake for mistake in effusion.shown if mistake.predicted == "present"]
    assert len(missed) == 3
    assert {mistake.true for mistake in missed} == {"CNV present"}
    assert {mistake.true for mistake in claimed} == {"CNV absent"}
    values = [float(mistake.probabilities[0].rsplit(" ", 1)[1]) for mistake in missed]
    assert values == sorted(values)


def test_a_page_without_any_mistake_or_interval(tmp_path):
    names = ("a", "b", "c")
    calibration = Calibration(names, "class", (1.0,), (0.0,), (0.5,) * 3)
    images = ClassifiedImages.of_logits(["x"], None, [[5.0, 0, 0]], [0], calibration)

    write_classification_report(images, summarise_images(images), tmp_path, ReportContext())

    text = (tmp_path / "report.html").read_text()
    require_whole(text)
    assert "No decision is wrong." in text
    assert "so there are no curves" in text


def test_the_comparison_is_whole_and_escaped(tmp_path):
    first, second = images_of("class"), images_of("class", seed=1)
    comparison = compare_images(first, second, resamples=100)

    path = write_classification_comparison((HOSTILE, "VGG16"), comparison, [{}, {}], tmp_path)

    text = path.read_text()
    require_whole(text)
    assert HOSTILE not in text
    assert "sign flips by patient: p = " in text
    assert "Tests therefore draw or flip whole patients" in text
    table = table_of(text)
    assert table["values"][0][0][3:5] == pytest.approx(
        [first.probabilities[0, 0], second.probabilities[0, 0]], abs=1e-5
    )


@pytest.mark.browser
def test_the_table_sorts_texts_and_the_page_fits_a_phone(page, browser):
    browser.get(f"file://{page[2]}")
    cells = lambda: [  # noqa: E731
        cell.text for cell in browser.find_elements("css selector", "#cases tbody td:nth-child(4)")
    ]

    browser.find_elements("css selector", "#cases th button")[3].click()

    assert cells() == sorted(cells(), key=str.casefold)
    assert not browser.find_element("id", "class").is_displayed()
    assert shown_at(browser, 400, "dark") == shown_at(browser, 400, "light") == 400
    browser.find_element("css selector", ".mistakes summary").click()
    assert ".png" in browser.find_element("css selector", ".mistakes details").text
    assert browser.get_log("browser") == []
