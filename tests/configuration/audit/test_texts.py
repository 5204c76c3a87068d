"""The audit of texts that name code, an address or a path outside the run."""

import time

import pytest


@pytest.mark.parametrize(
    "text",
    [
        *("os.system", "torch.hub.load", "monai.data.NumpyReader", "segpipe.cli.main"),
        *("http://a.b/c", "file:///a", "s3://a", "data:text/plain,a", "tcp://127.0.0.1:1"),
        *("/etc/passwd", "//a/b", "~/a", "../a", "a/../../b", "C:\\a", "a\\..\\..\\b", "\\\\a\\b"),
    ],
)
def test_code_addresses_and_paths_elsewhere_are_found(problems_in, text):
    (what,) = problems_in(value=["a", {"b": text}])

    assert what.startswith("value::1::b names")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "model.pt",
            "os.txt",
            "torch.yaml",
            "a.b.c",
            "1.0",
            "bilinear",
            "RAS",
            "/",
            "a/b.nii.gz",
            "*.nii.gz",
        ),
        *("Dice: mean over classes", "a..b", ".nii.gz", "a@b.org", "50 %"),
    ],
)
def test_plain_texts_need_no_consent(problems_in, text):
    assert problems_in(value=text) == []


@pytest.mark.parametrize("name", ["dataset_dir", "manifest"])
def test_scans_may_lie_anywhere(problems_in, name):
    assert problems_in(**{name: "/data/scans"}) == []


def test_a_description_may_say_anything_but_an_expression(problems_in):
    component = {"_target_": "torch.device", "type": "cpu"}

    assert problems_in(value={**component, "_desc_": "see https://a.b, /data and os.system"}) == []
    assert problems_in(value={**component, "_desc_": "$print(1)"})


def test_a_long_text_takes_no_longer_than_others(problems_in):
    start = time.perf_counter()

    assert problems_in(value="a" * 250_000) == []
    assert time.perf_counter() - start < 5
