"""The network's number format, by name, by device and by measured time, and the resulting scores."""

import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.inference import choose_precision, needs_loss_scaling, precision
from segpipe.inference.precision import in_precision, measured_precision, seconds_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def capability(monkeypatch):
    """Return a function that gives the CUDA card a compute capability."""

    def has(major, minor):
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    return has


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_a_precision_that_is_asked_for_is_taken(name, dtype):
    assert choose_precision(name, CPU) is dtype
    assert choose_precision(name, CUDA) is dtype


def test_an_unknown_precision_is_refused():
    with pytest.raises(
        SegpipeError, match="precision 'fp16' is unknown; use auto or one of float32, bfloat16, float16"
    ):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("version", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_auto_on_a_card_is_bfloat16_where_it_computes_in_it(capability, version, dtype):
    """PyTorch reports bfloat16 support for older cards, which emulate it."""
    capability(*version)

    assert choose_precision("auto", CUDA) is dtype
    assert needs_loss_scaling(CUDA) is (dtype is torch.float16)


def test_auto_on_a_rocm_card_is_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.2")

    assert choose_precision("auto", CUDA) is torch.bfloat16


def test_auto_asks_the_card_that_is_used(monkeypatch):
    """Two cards of a machine may differ."""
    versions = {torch.device("cuda:0"): (7, 5), torch.device("cuda:1"): (8, 6)}
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", versions.__getitem__)

    assert choose_precision("auto", torch.device("cuda:0")) is torch.float16
    assert choose_precision("auto", torch.device("cuda:1")) is torch.bfloat16


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"avx512_bf16": False}, torch.float32), ({}, torch.float32)],
)
def test_auto_on_a_processor_is_bfloat16_where_it_computes_in_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    assert choose_precision("auto", CPU) is dtype


def test_the_loss_is_scaled_for_float16_alone(capability):
    capability(7, 5)

    assert needs_loss_scaling("cuda:0", "auto")
    assert not needs_loss_scaling("cuda:0", "float32")
    assert not needs_loss_scaling("cpu", "auto")
    capability(9, 0)
    assert needs_loss_scaling("cuda:0", "float16")
    assert not needs_loss_scaling("cuda:0", "bfloat16")


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until something takes time."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(precision.time, "perf_counter", lambda: Clock.now)
    return Clock


@pytest.fixture
def timed(clock, monkeypatch):
    """Return a function that gives a processor with bfloat16 a network of known speed in each precision."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})

    def network(**seconds):
        class Timed(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(1))

            def forward(self, windows):
                clock.now += seconds[str(self.scale.dtype).removeprefix("torch.")]
                return windows * self.scale

        return Timed().eval()

    return network


WINDOWS = torch.zeros(2, 1, 4, 4, 4)


@pytest.mark.parametrize(
    ("bfloat16", "chosen"),
    [(0.5, "bfloat16"), (0.9, "bfloat16"), (0.92, "float32"), (1.0, "float32"), (2.0, "float32")],
)
def test_reduced_precision_is_taken_where_it_is_a_tenth_faster(timed, bfloat16, chosen):
    """float32 takes a second: 1 / 0.9 is above 1.1, 1 / 0.92 below."""
    assert measured_precision(timed(float32=1.0, bfloat16=bfloat16), WINDOWS) == chosen


def test_nothing_is_timed_where_the_processor_has_no_reduced_precision(timed, clock, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)

    assert measured_precision(timed(float32=1.0, bfloat16=0.1), WINDOWS) == "float32"
    assert clock.now == 1000.0


def test_the_first_time_does_not_count_and_the_shortest_of_the_others_does(clock):
    """The first call compiles and allocates; another process may slow down some of the other calls."""
    takes = iter([0.1, 9.0, 2.0, 3.0, 9.0])

    def predictor(windows):
        clock.now += next(takes)

    assert seconds_of(predictor, WINDOWS) == pytest.approx(2.0)


@pytest.fixture
def network():
    """Return a small network with a norm in evaluation mode, whose scores are of the size of 1."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.BatchNorm3d(8), torch.nn.ReLU()]
    made = torch.nn.Sequential(*layers, torch.nn.Conv3d(8, 2, 1))
    made(torch.randn(4, 1, 6, 6, 6))
    return made.eval()


@pytest.fixture
def image():
    return torch.randn(2, 1, 12, 10, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@torch.no_grad()
def test_reduced_scores_are_float32_near_those_of_float32(network, image, name):
    exact = network(image)

    scores = in_precision(network, name)(image)

    assert scores.dtype == torch.float32
    assert not torch.equal(scores, exact)
    torch.testing.assert_close(scores, exact, atol=0.03, rtol=0)
    assert exact.std() > 0.1  # so that near means something


@torch.no_grad()
def test_float32_scores_are_the_networks_own(network, image):
    assert torch.equal(in_precision(network, "float32")(image), network(image))


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@torch.no_grad()
def test_the_network_that_is_given_stays_as_it_is(network, image, name):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    scores, windows = network(image), image.clone()

    in_precision(network, name)(windows)

    after = network.state_dict()
    assert {key: value.dtype for key, value in after.items()} == {
        key: value.dtype for key, value in before.items()
    }
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(network(image), scores)
    assert windows.dtype == torch.float32
    assert torch.equal(windows, image)


@torch.no_grad()
def test_on_a_processor_bfloat16_is_in_the_weights_not_cast_window_by_window(network, image):
    dtypes = []
    network[0].register_forward_hook(
        lambda module, arguments, output: dtypes.append(
            (module.weight.dtype, arguments[0].dtype, output.dtype)
        )
    )

    in_precision(network, "bfloat16")(image)

    assert dtypes == [(torch.bfloat16,) * 3]


@torch.no_grad()
def test_a_network_without_weights_is_one_too(image):
    for name in ("float32", "bfloat16"):
        assert in_precision(torch.nn.ReLU(), name)(image).dtype == torch.float32


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_what_is_no_tensor_is_passed_on(image, name):
    """Deep supervision returns several maps; the sliding window refuses them by name."""

    class Several(torch.nn.Module):
        def forward(self, windows):
            return [windows, windows]

    assert isinstance(in_precision(Several(), name)(image), list)


def test_an_unknown_name_is_refused_before_a_window_is_seen(network):
    with pytest.raises(SegpipeError, match="precision 'half' is unknown"):
        in_precision(network, "half")


def test_wrong_scores_in_bfloat16_are_never_taken(monkeypatch):
    """PyTorch issue 169688: on processors, some 3D convolutions with an innermost output of 1 are wrong in bfloat16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(
        precision, "seconds_of", lambda way, windows: 1.0 if way(windows).equal(exact) else 0.1
    )
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(4, 8, 3, stride=2, padding=1).eval()
    windows = torch.randn(1, 4, 6, 6, 2)
    with torch.no_grad():
        exact = layer(windows)
        assert exact.shape[-1] == 1
        chosen = measured_precision(layer, windows)
        torch.testing.assert_close(in_precision(layer, chosen)(windows), exact, atol=0.05, rtol=0)
        monkeypatch.setattr(
            precision,
            "in_precision",
            lambda network, name: lambda x: network(x).roll(1, 2) if name == "bfloat16" else network(x),
        )
        assert measured_precision(layer, windows) == "float32"
