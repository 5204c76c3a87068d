"""`predictions.csv` against a manifest: pairing by path, and one message for each fault."""

import numpy as np
import pytest

from segpipe.dataset.manifest import Case, Manifest
from segpipe.errors import SegpipeError
from segpipe.evaluation.classification.predictions import paired_predictions

CASES = (
    Case("a", ("CNV/a.png",), patient="p1", classes=("CNV",)),
    Case("b", ("NORMAL/b.png",), patient="p2", classes=("NORMAL",)),
)
OCT = Manifest("oct", ("OCT",), {0: "CNV", 1: "NORMAL"}, CASES, target="class")
FILMS = (
    Case("x", ("x.png",), classes=("Effusion",)),
    Case("y", ("y.png",), unknown=("Nodule",)),
)
CXR = Manifest("cxr", ("X-ray",), {0: "Effusion", 1: "Nodule"}, FILMS, target="findings")
HEAD = "image,p_CNV,p_NORMAL,decision\n"


@pytest.fixture
def paired(tmp_path):
    def read(text, manifest=OCT):
        table = tmp_path / "predictions.csv"
        table.write_text(text)
        return paired_predictions(table, manifest, manifest.training)

    return read


@pytest.mark.parametrize(
    "images",
    [
        ("a", "b"),
        ("CNV/a.png", "NORMAL/b.png"),
        ("/data/oct/CNV/a.png", "C:\\oct\\NORMAL\\b.png"),
        ("a.png", "b.png"),
    ],
)
def test_rows_are_paired_by_id_or_by_the_end_of_the_path(paired, images):
    """The order of the rows does not matter."""
    result = paired(f"{HEAD}{images[1]},.2,.8,NORMAL\n{images[0]},.7,.3,CNV\n")

    assert result.images.cases == ("a", "b")
    assert result.images.patients == ("p1", "p2")
    np.testing.assert_array_equal(result.images.probabilities, [[0.7, 0.3], [0.2, 0.8]])
    assert result.images.correct.tolist() == [True, True]
    assert result.reasons == {}


def test_missing_rows_and_rows_of_no_case(paired):
    result = paired(f"{HEAD}a,.7,.3,CNV\nother.png,.5,.5,CNV\nb,,,\n")

    assert result.reasons == {"b": "its row has no probabilities"}
    assert result.without_reference == ("other.png",)
    assert paired(f"{HEAD}a,.7,.3,CNV\n").reasons == {"b": "no row of the table is of it"}


def test_findings_with_decisions(paired):
    result = paired(
        "image,p_Effusion,p_Nodule,decision\nx.png,.7,.9,Effusion|Nodule\ny.png,.2,.1,No Finding\n", CXR
    )

    np.testing.assert_array_equal(result.images.present, [[1, 0], [0, np.nan]])
    assert result.images.decided.tolist() == [[True, True], [False, False]]
    assert result.images.correct.tolist() == [False, True]
    assert result.images.patients is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,p_NORMAL,p_CNV,decision\na,.3,.7,CNV\n", "are NORMAL, CNV, in another order than the manifest's"),
        ("image,p_CNV,p_DME,decision\na,.3,.7,CNV\n", "are CNV, DME, others than the manifest's CNV, NORMAL"),
        ("image,decision\na,CNV\n", r"columns p_... are missing"),
        ("file,p_CNV,p_NORMAL,decision\na,.3,.7,CNV\n", "has no column image"),
        (HEAD, "has no row"),
        (f"{HEAD}a,.7,.3,CNV\nCNV/a.png,.6,.4,CNV\n", "a stands twice, as a and CNV/a.png"),
        (f"{HEAD}a,1.7,.3,CNV\n", "the probability of CNV for a is 1.7, must be a number from 0 to 1"),
        (f"{HEAD}a,-.7,1,CNV\n", "the probability of CNV for a is -.7"),
        (f"{HEAD}a,high,.3,CNV\n", "the probability of CNV for a is high"),
        (f"{HEAD}a,,.3,CNV\n", "the probability of CNV for a is empty"),
        (f"{HEAD}a,.7,.7,CNV\n", "the probabilities for a sum to 1.4, must sum to 1"),
        (f"{HEAD}a,.7,.3,DME\n", "the decision for a is DME, must be one of CNV, NORMAL"),
        (f"{HEAD}a,.7,.3,\n", "the decision for a is empty"),
        (f"{HEAD}a,.7,.3,CNV|NORMAL\n", "must be one of CNV, NORMAL"),
        (f"{HEAD}z.png,.7,.3,CNV\n", r"no row is of a case of oct: z.png against CNV/a.png, NORMAL/b.png"),
    ],
)  # fmt: skip
def test_each_fault_has_a_message(paired, text, message):
    with pytest.raises(SegpipeError, match=message) as refused:
        paired(text)

    assert len(refused.value.args) == 1


def test_findings_that_nobody_knows(paired):
    nobody = Manifest(
        "cxr",
        ("X-ray",),
        CXR.labels,
        (Case("x", ("x.png",), unknown=("Effusion", "Nodule")),),
        target="findings",
    )

    with pytest.raises(SegpipeError, match="every finding is unknown in every case"):
        paired("image,p_Effusion,p_Nodule,decision\nx.png,.7,.9,Effusion\n", nobody)


def test_a_name_in_two_folders_needs_longer_paths(paired):
    twins = Manifest(
        "oct",
        ("OCT",),
        OCT.labels,
        (Case("a", ("CNV/1.png",), classes=("CNV",)), Case("b", ("NORMAL/1.png",), classes=("NORMAL",))),
        target="class",
    )

    with pytest.raises(SegpipeError, match=r"the image 1\.png can be a or b; give longer paths"):
        paired(f"{HEAD}1.png,.7,.3,CNV\n", twins)
