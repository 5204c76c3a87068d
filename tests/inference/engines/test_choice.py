"""The choice of an engine: by name, by measured times, and what happens where an engine gives other scores."""

import json
from types import SimpleNamespace

import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.inference.engines import choice
from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.engines.choice import EngineChoice, fastest
from segpipe.inference.engines.engine import CannotComputeError
from segpipe.inference.engines.names import Way

TORCH32, TORCH16 = Way("torch", "float32"), Way("torch", "bfloat16")
OPENVINO32, OPENVINO16 = Way("openvino", "float32"), Way("openvino", "bfloat16")
OPENVINO8 = Way("openvino", "int8")
WINDOW = torch.linspace(-1, 1, 64).reshape(1, 1, 4, 4, 4)


@pytest.mark.parametrize(
    ("seconds", "windows", "expected"),
    [
        ({TORCH32: 0.10, OPENVINO32: 0.06}, 1000, OPENVINO32),
        ({TORCH32: 0.10, OPENVINO32: 0.06}, 37, TORCH32),  # 3.70 against 1.5 + 2.22 = 3.72 seconds
        ({TORCH32: 0.10, OPENVINO32: 0.06}, 38, OPENVINO32),  # 3.80 against 1.5 + 2.28 = 3.78 seconds
        ({TORCH32: 1.0, TORCH16: 0.92}, 100, TORCH32),  # 1 / 0.92 is below 1.1
        ({TORCH32: 1.0, TORCH16: 0.9}, 100, TORCH16),
        ({TORCH32: 1.0, TORCH16: 0.5, OPENVINO32: 0.52}, 1000, OPENVINO32),
        ({TORCH32: 1.0, TORCH16: 0.5, OPENVINO32: 0.6, OPENVINO16: 0.2}, 1000, OPENVINO16),
        ({TORCH16: 1.0}, 10, TORCH16),
        ({TORCH32: 1.0, OPENVINO32: 0.48, OPENVINO8: 0.41}, 10**6, OPENVINO32),  # .48 / .41 is below 1.2
        ({TORCH32: 1.0, OPENVINO32: 0.48, OPENVINO8: 0.39}, 10**6, OPENVINO8),
        ({TORCH32: 1.0, OPENVINO16: 0.44, OPENVINO8: 0.39}, 10**6, OPENVINO16),  # not against float32 alone
        ({OPENVINO8: 1.0}, 10, OPENVINO8),
    ],
)
def test_the_way_that_is_done_first(seconds, windows, expected):
    assert fastest(seconds, windows) == expected


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that makes a choice on a machine where a window takes known seconds in each way."""

    class Machine:
        def __init__(self):
            self.now, self.opened, self.said, self.scores = 0.0, [], [], {}
            self.share = 1.0  # of the processor; the rest is a neighbour's

        def choose(self, seconds, engine="auto", precision="auto", windows=10_000, **how):
            self.opened, self.said = [], []

            def scores_of(job, way):
                self.opened.append(way)
                if way not in seconds:
                    raise CannotComputeError("no such units")
                change = self.scores.get(way, lambda scores: scores)

                def scores(batch):
                    self.now += seconds[way] * len(batch)
                    return change(2 * batch)

                return scores

            class Network(torch.nn.Module):
                def forward(network, batch):
                    self.now += seconds[TORCH32] * len(batch)
                    return 2 * batch

            monkeypatch.setattr(choice, "_open", scores_of)
            monkeypatch.setattr(choice, "torch_scores", lambda job, name: scores_of(job, Way("torch", name)))
            cache = EngineCache(tmp_path / "cache", self.said.append)
            quantised = how.pop("quantised", None)
            made = EngineChoice(
                Network(), "identity", engine, precision, self.said.append, cache, quantised=quantised
            )
            return made.opened(how.pop("window", WINDOW), 2, windows, **how)[1]

    made = Machine()
    monkeypatch.setattr(choice.time, "perf_counter", lambda: made.now)
    monkeypatch.setattr(choice.time, "thread_time", lambda: made.now * made.share)
    monkeypatch.setattr(choice, "is_installed", lambda engine: True)
    monkeypatch.setattr(choice, "engine_versions", lambda engine: {"torch": "1"})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    return made


SECONDS = {TORCH32: 0.2, TORCH16: 0.1, OPENVINO32: 0.12, OPENVINO16: 0.04}


def test_auto_takes_the_fastest_and_says_why(machine):
    assert machine.choose(SECONDS) == OPENVINO16
    assert machine.said == [
        "computing with openvino in bfloat16: 40 ms a window (torch in float32 200, torch in bfloat16 100, openvino in "
        "float32 120)"
    ]


def test_times_are_measured_once_for_a_machine(machine, monkeypatch):
    machine.choose(SECONDS)

    assert machine.choose(SECONDS) == OPENVINO16
    assert machine.opened == [OPENVINO16]  # which is compared with PyTorch in every run
    monkeypatch.setattr(choice, "processor_name", lambda: "another")
    assert machine.choose({**SECONDS, OPENVINO16: 0.2}) == TORCH16


@pytest.mark.parametrize(
    "value",
    [3, [["openvino", "float32"]], [["rm", "float32", 1.0]], [["openvino", "float32", -1.0]], [[1, 2, "x"]]],
)
def test_a_foreign_note_of_times_is_measured_anew(machine, tmp_path, value):
    machine.choose(SECONDS)
    (path,) = (tmp_path / "cache" / "times").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "value": value}))

    assert machine.choose(SECONDS) == OPENVINO16
    assert set(machine.opened) == set(SECONDS)


@pytest.mark.parametrize(("windows", "expected"), [(95, TORCH16), (97, OPENVINO16), (7, TORCH16)])
def test_short_work_is_not_worth_a_conversion(machine, windows, expected):
    """PyTorch takes 0.1 s a window; below 8 s, beside 16 windows of measuring, nothing is converted."""
    assert machine.choose(SECONDS, windows=windows) == expected
    assert (OPENVINO16 in machine.opened) == (expected == OPENVINO16)


def test_a_busy_neighbour_does_not_make_short_work_long(machine):
    """90 windows of 0.1 s of this program are 9 s, though they take 90 s beside nine other programs."""
    machine.share = 0.1
    ten_times = {TORCH32: 1.0, OPENVINO32: 0.2}

    assert machine.choose(ten_times, precision="float32", windows=90) == TORCH32
    assert machine.choose(ten_times, precision="float32", windows=97) == OPENVINO32


def test_a_precision_that_is_asked_for_stays(machine):
    assert machine.choose(SECONDS, precision="float32") == OPENVINO32
    assert machine.choose({**SECONDS, Way("torch", "float16"): 1.0}, precision="float16").engine == "torch"
    assert machine.said == []


def test_an_engine_that_is_asked_for_stays(machine):
    assert machine.choose({**SECONDS, OPENVINO16: 0.4, OPENVINO32: 0.4}, engine="openvino") == OPENVINO32
    assert machine.choose(SECONDS, engine="torch") == TORCH16
    onnx = Way("onnxruntime", "float32")
    assert machine.choose({**SECONDS, onnx: 1.0}, engine="onnxruntime") == onnx
    assert machine.said == []


def test_without_openvino_auto_is_pytorch_and_silent(machine, monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda engine: False)

    assert machine.choose(SECONDS) == TORCH16
    assert machine.said == []


def test_windows_of_whole_axes_stay_with_pytorch(machine):
    assert machine.choose(SECONDS, same_shape=False) == TORCH16
    assert machine.choose(SECONDS, "openvino", "float32", same_shape=False) == TORCH32
    assert machine.said == [
        "computing with torch in float32 instead of openvino: its windows span whole axes, whose lengths differ from "
        "scan to scan"
    ]


@pytest.mark.parametrize("engine", ["auto", "openvino"])
def test_other_scores_are_reported_and_pytorch_computes(machine, engine):
    machine.scores = {OPENVINO32: lambda scores: scores + 0.01}  # of a range of 4: the limit is 0.004

    assert machine.choose(SECONDS, engine, "float32") == TORCH32
    assert "differ from those of PyTorch in float32 by up to 0.01, the limit is 0.004" in machine.said[0]


def test_a_network_that_cannot_be_converted_is_reported_and_pytorch_computes(machine):
    assert machine.choose({TORCH32: 0.2, TORCH16: 0.1}, "openvino", "float32") == TORCH32
    assert machine.said == ["computing with torch in float32 instead of openvino: no such units"]


def test_wrong_bfloat16_is_never_taken(machine):
    machine.scores = {TORCH16: lambda scores: scores.roll(1, -1), OPENVINO16: torch.zeros_like}

    assert machine.choose(SECONDS) == OPENVINO32
    assert [message.partition(":")[0] for message in machine.said[:2]] == [
        "torch in bfloat16 is not used",
        "openvino in bfloat16 is not used",
    ]


def test_bfloat16_with_other_labels_is_not_taken_and_remembered(machine):
    """The score next to 0 is -2 / 63 = -.0317: with .033 more, 1 label in 64 differs, and the scores agree."""
    machine.scores = {OPENVINO16: lambda scores: scores + 0.033}

    for opened in [[TORCH32, TORCH16, OPENVINO32, OPENVINO16], []]:
        assert machine.choose(SECONDS | {TORCH16: 0.19}) == OPENVINO32
        assert machine.said[0] == (
            "openvino in bfloat16 is not used: 1.562% of a window's labels differ from those of float32, the limit is "
            "0.01%"
        )
        assert [way for way in machine.opened if way != OPENVINO32] == [
            way for way in opened if way != OPENVINO32
        ]


def test_bfloat16_with_other_labels_stays_where_it_was_asked_for(machine):
    machine.scores = {OPENVINO16: lambda scores: scores + 0.033}

    assert machine.choose(SECONDS, precision="bfloat16") == OPENVINO16


def test_wrong_bfloat16_that_was_asked_for_is_reported(machine):
    machine.scores = {TORCH16: lambda scores: scores.roll(1, -1)}

    assert machine.choose(SECONDS, "torch", "bfloat16") == TORCH16
    (message,) = machine.said
    assert message.startswith(
        "computing with torch in bfloat16, as asked for, but its scores of a window in bfloat16"
    )
    assert message.endswith("; --precision float32 is right")


def lacking(scores):
    raise NotImplementedError("\"avg_pool3d_out_frame\" not implemented for 'BFloat16'")


def test_auto_leaves_out_a_precision_that_pytorch_lacks_a_layer_in(machine):
    machine.scores = {TORCH16: lacking}

    assert machine.choose({TORCH32: 0.2, TORCH16: 0.1}) == TORCH32
    assert machine.said[0] == (
        'torch in bfloat16 is not used: torch does not compute a layer of the network ("avg_pool3d_out_frame" not '
        "implemented for 'BFloat16')"
    )
    assert machine.choose(SECONDS, "openvino", same_shape=False) == TORCH32
    machine.scores = {}
    assert machine.choose(SECONDS, "openvino", same_shape=False) == TORCH16


def test_a_precision_that_was_asked_for_and_lacks_a_layer_is_refused(machine):
    machine.scores = {TORCH16: lacking}

    with pytest.raises(
        SegpipeError, match=r"--precision bfloat16: torch does not .*; give --precision float32"
    ):
        machine.choose(SECONDS, "torch", "bfloat16")


INT8 = SimpleNamespace(sha256="of the network in int8")


def test_auto_takes_int8_where_it_is_clearly_faster(machine):
    seconds = {**SECONDS, OPENVINO8: 0.03}

    assert machine.choose(seconds) == OPENVINO16  # there is no network in int8
    assert machine.choose(seconds, quantised=INT8) == OPENVINO8
    assert "computing with openvino in int8: 30 ms a window" in machine.said[0]
    assert machine.choose({**seconds, OPENVINO8: 0.035}, quantised=SimpleNamespace(sha256="b")) == OPENVINO16
    assert machine.choose(seconds, quantised=INT8) == OPENVINO8
    assert machine.opened == [OPENVINO8]  # times are noted for a network in int8


def test_int8_is_computed_by_openvino(machine):
    assert machine.choose({TORCH32: 1.0, OPENVINO8: 1.0}, precision="int8", quantised=INT8) == OPENVINO8
    assert machine.said == []


def other(scores):
    """Differ by 0.2 and -0.2 of the spread in turn: 0.15 is the limit."""
    signs = torch.ones_like(scores).flatten()
    signs[::2] = -1
    return scores + 0.2 * scores.std(correction=0) * signs.reshape(scores.shape)


def test_int8_with_other_scores_is_refused_where_it_was_asked_for_and_else_not_used(machine):
    machine.scores = {OPENVINO8: other}
    seconds = {**SECONDS, OPENVINO8: 0.01}

    assert machine.choose(seconds, quantised=INT8) == OPENVINO16
    assert machine.said[0].startswith("openvino in int8 is not used: its scores of a window in int8 differ")
    with pytest.raises(
        SegpipeError,
        match=r"--precision int8: its scores .* a root mean square of 0\.\d+, the limit is .*; give --precision",
    ):
        machine.choose(seconds, precision="int8", quantised=INT8)
