"""Exported networks give PyTorch's scores for any batch and size, and say what they take."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle
from tiny_classifier import write_classifier
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.export import ExportOptions, export_bundle
from segpipe.export.bundle import FORMS
from segpipe.export.checking import Compared, compared, require_equal, size_step
from segpipe.export.form import Form

SUFFIX = {"onnx": ".onnx", "torchscript": ".ts", "openvino": ".xml"}


class Halved(nn.Module):
    """Takes even sizes alone."""

    def forward(self, images):
        if images.shape[-1] % 2:
            raise RuntimeError("odd")
        return images * 2


class TestChecking:
    def test_the_step_is_the_smallest_that_the_network_takes(self):
        assert size_step(Halved(), 1, (4, 4)) == 2
        assert size_step(nn.Conv2d(1, 1, 3), 1, (4, 4)) == 1

    def test_a_network_of_one_size_has_none(self):
        assert size_step(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 1, (4, 4)) is None

    def test_the_difference_is_of_the_same_images(self):
        result = compared(nn.Identity(), lambda images: images + np.float32(0.5), (2, 1, 3, 3))

        assert (result.shape, result.difference) == ((2, 1, 3, 3), pytest.approx(0.5, abs=1e-6))

    def test_other_shapes_and_numbers_are_refused(self):
        with pytest.raises(SegpipeError, match=r"shape \(1, 3\) for images of shape \(1, 1, 3\)"):
            compared(nn.Identity(), lambda images: images[0], (1, 1, 3))
        with pytest.raises(SegpipeError, match="must be finite"):
            compared(nn.Identity(), lambda images: images * np.float32(np.nan), (1, 1, 3))

    def test_the_limit_is_a_thousandth_of_the_largest_score(self):
        require_equal(Compared((1, 1, 2), 0.0019, 2.0))
        with pytest.raises(SegpipeError, match=r"differ by up to 0.0021, the limit is 0.002"):
            require_equal(Compared((1, 1, 2), 0.0021, 2.0))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("export") / "tiny")


class TestRefusals:
    def test_the_form_and_the_suffix(self, classifier, tmp_path):
        with pytest.raises(SegpipeError, match="--to tflite: must be one of onnx, torchscript, openvino"):
            export_bundle(classifier, "tflite", tmp_path / "a.onnx")
        with pytest.raises(SegpipeError, match=r"ends in \.ts or \.pt; rename"):
            export_bundle(classifier, "torchscript", tmp_path / "a.onnx")

    def test_a_missing_package_has_its_command(self):
        form = Form("onnx", (".onnx",), ("json", "none_of_this_name"), {}, None, None)
        with pytest.raises(
            SegpipeError, match=r"none_of_this_name is not installed; run: pip install 'segpipe\[export\]'"
        ):
            form.require_installed()

    def test_a_file_that_is_there(self, classifier, tmp_path):
        (tmp_path / "a.bin").write_text("mine")
        with pytest.raises(SegpipeError, match=r"a\.bin: exists already; give --overwrite"):
            export_bundle(classifier, "openvino", tmp_path / "a.xml")

    @pytest.mark.parametrize("size", [(16,), (16, 0)])
    def test_a_size_that_is_none(self, classifier, tmp_path, size):
        with pytest.raises(SegpipeError, match="is no 2 whole numbers above 0; give --size"):
            export_bundle(classifier, "torchscript", tmp_path / "a.ts", ExportOptions(size=size))

    def test_a_size_that_the_network_does_not_take(self, classifier, tmp_path):
        with pytest.raises(SegpipeError, match=r"its network takes no image of 3 channel.* 20 x 20"):
            export_bundle(classifier, "torchscript", tmp_path / "a.ts", ExportOptions(size=(20, 20)))
        assert list(tmp_path.iterdir()) == []

    def test_other_scores_leave_nothing_behind(self, classifier, tmp_path, monkeypatch):
        """Every way is tried; the message has the reason of each."""
        form = FORMS["torchscript"]
        wrong = Form(
            form.name,
            form.suffixes,
            (),
            form.ways,
            lambda path: lambda images: form.opened(path)(images) + np.float32(1),
            form.facts_of,
        )
        monkeypatch.setitem(FORMS, "torchscript", wrong)

        with pytest.raises(SegpipeError) as refusal:
            export_bundle(classifier, "torchscript", tmp_path / "new" / "a.ts")

        assert "and no file was written: script: " in str(refusal.value)
        assert "; trace: scores for images of shape (1, 3, 16, 16) differ by up to 1" in str(refusal.value)
        assert list((tmp_path / "new").iterdir()) == []


def test_a_classifier_of_one_size_takes_any_batch(classifier, tmp_path):
    done = export_bundle(classifier, "torchscript", tmp_path / "a.ts")

    assert done.step is None
    assert [result.shape for result in done.compared] == [(1, 3, 16, 16), (2, 3, 16, 16)]
    facts = FORMS["torchscript"].facts_of(tmp_path / "a.ts")
    assert json.loads(facts["labels"])[1] == {"index": 1, "name": "DME", "value": 1}
    assert facts["activation"] == "softmax"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ts"]


@pytest.mark.slow
@pytest.mark.parametrize("form", list(FORMS))
def test_a_classifier_in_each_form(classifier, tmp_path, form):
    pytest.importorskip(FORMS[form].packages[-1] if FORMS[form].packages else "torch")
    path = tmp_path / f"network{SUFFIX[form]}"

    export_bundle(classifier, form, path)

    scores = FORMS[form].opened(path)
    assert scores(np.zeros((5, 3, 16, 16), np.float32)).shape == (5, 3)


@pytest.mark.slow
@pytest.mark.parametrize("form", list(FORMS))
def test_a_segmenter_takes_any_size_and_says_what_it_takes(tmp_path, form):
    pytest.importorskip(FORMS[form].packages[-1] if FORMS[form].packages else "torch")
    bundle = write_bundle(tmp_path / "tiny")
    path = tmp_path / f"network{SUFFIX[form]}"

    done = export_bundle(bundle, form, path)

    assert done.step == 4  # two strides of 2
    assert [result.shape for result in done.compared] == [(1, 1, 16, 16, 16), (2, 1, 20, 20, 20)]
    assert FORMS[form].opened(path)(np.ones((3, 1, 24, 16, 20), np.float32)).shape == (3, 3, 24, 16, 20)
    facts = FORMS[form].facts_of(path)
    assert [row["name"] for row in json.loads(facts["labels"])] == ["background", "anterior", "posterior"]
    assert json.loads(facts["spacing_mm"]) == [1.0, 1.0, 1.0]
    assert json.loads(facts["window_size"]) == [16, 16, 16]
    assert json.loads(facts["channels"]) == ["T1-weighted MRI, zero mean and unit variance over the scan"]
    assert json.loads(facts["transforms"])[0]["axcodes"] == "RAS"


@pytest.mark.slow
def test_a_network_that_pools_over_a_grid_takes_any_size_in_onnx(tmp_path):
    pytest.importorskip("onnxruntime")

    done = export_bundle("cxr_findings_efficientnet", "onnx", tmp_path / "a.onnx")

    assert [result.shape for result in done.compared] == [(1, 3, 64, 64), (2, 3, 65, 65)]
    assert FORMS["onnx"].opened(tmp_path / "a.onnx")(np.zeros((3, 3, 80, 96), np.float32)).shape == (3, 14)


def test_a_refusal_of_onnx_runtime_is_an_error_that_the_export_knows(tmp_path):
    pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    ends = [helper.make_tensor_value_info(name, 1, [1, 2]) for name in ("image", "pred")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["pred"])], "a", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 18)]
    (tmp_path / "a.onnx").write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    )

    scores = FORMS["onnx"].opened(tmp_path / "a.onnx")

    with pytest.raises(RuntimeError, match="invalid dimensions"):
        scores(np.zeros((1, 3), np.float32))


@pytest.mark.slow
def test_openvino_opens_no_socket(tmp_path):
    """Its converter would send usage statistics; the process ends if anything asks for a socket or a host."""
    pytest.importorskip("openvino")
    bundle = write_classifier(tmp_path / "tiny")
    code = (
        "import os, socket, sys\n"
        "def refuse(*_, **__): os._exit(7)\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from pathlib import Path\n"
        "from segpipe.export import export_bundle\n"
        "export_bundle(sys.argv[1], 'openvino', Path(sys.argv[2]))\n"
        "print('openvino_telemetry' in sys.modules and sys.modules['openvino_telemetry'])\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}

    done = subprocess.run(
        [sys.executable, "-c", code, bundle, tmp_path / "a.xml"],
        env=environment,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr[-2000:]
    assert not list(tmp_path.glob("intel")) + list(tmp_path.glob(".intel*"))
