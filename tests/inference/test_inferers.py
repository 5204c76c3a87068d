"""Reduced precision and mirror flips around the network of any inferer, and a 2D network over volumes."""

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SlidingWindowInferer

from segpipe.errors import SegpipeError
from segpipe.inference import FlipInferer, PrecisionInferer, SliceInferer


@pytest.fixture
def network():
    """Return a small network in evaluation mode."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(8, 2, 1)
    ).eval()


@pytest.fixture
def image():
    return torch.randn(1, 1, 12, 10, 8, generator=torch.Generator().manual_seed(1))


def test_reduced_precision_gives_float32_scores_of_autocast(network, image):
    scores = PrecisionInferer(SimpleInferer(), "bfloat16")(image, network)

    with torch.autocast("cpu", torch.bfloat16):
        expected = network(image)
    assert expected.dtype == torch.bfloat16
    assert scores.dtype == torch.float32
    assert torch.equal(scores, expected.float())
    assert not torch.equal(scores, network(image))


@pytest.fixture
def with_bfloat16(monkeypatch):
    """Let the processor have units for bfloat16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def wrong_in_bfloat16(calls):
    def network(window):
        calls.append(torch.is_autocast_enabled("cpu"))
        return window + 1000 * torch.is_autocast_enabled("cpu") * torch.arange(window.shape[-1])

    return network


def test_wrong_bfloat16_of_a_processor_is_not_taken_by_auto(with_bfloat16, image, caplog):
    calls, inferer = [], PrecisionInferer(SimpleInferer())
    with torch.inference_mode():
        assert torch.equal(inferer(image, wrong_in_bfloat16(calls)), image)
        assert torch.equal(inferer(image, wrong_in_bfloat16(calls)), image)

    assert calls == [True, False, False]
    assert (
        "computing in float32, since PyTorch is wrong in bfloat16 here: its scores of a window" in caplog.text
    )


def test_right_bfloat16_is_compared_once_for_a_shape_of_volumes(with_bfloat16, network, image):
    calls, inferer = [], PrecisionInferer(SimpleInferer())

    def counted(window):
        calls.append(torch.is_autocast_enabled("cpu"))
        return network(window) if window.ndim == 5 else window

    with torch.inference_mode():
        scores = [inferer(image, counted) for _ in range(2)]
        inferer(image[..., :4], counted)
        inferer(image[..., 0], counted)  # PyTorch's 2D convolutions are right

    assert calls == [True, False, True, True, False, True]
    assert torch.equal(*scores)
    assert not torch.equal(scores[0], network(image))


def test_a_training_is_not_compared(with_bfloat16, image):
    """A second forward pass would change running statistics, and draw other random numbers."""
    calls = []
    PrecisionInferer(SimpleInferer())(image, wrong_in_bfloat16(calls))

    assert calls == [True]


def test_float32_is_the_bare_network(network, image):
    assert torch.equal(PrecisionInferer(SimpleInferer(), "float32")(image, network), network(image))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_metatensor_goes_to_the_network_without_its_metadata(network, image, precision):
    window_types = []

    def looking(window):
        window_types.append(type(window))
        return network(window)

    scores = PrecisionInferer(SimpleInferer(), precision)(MetaTensor(image), looking)

    assert window_types == [torch.Tensor]
    assert torch.equal(scores, PrecisionInferer(SimpleInferer(), precision)(image, network))


def test_a_sliding_window_sums_in_float32(network, image):
    """Each window is in bfloat16; the weighted sum of four windows stays in float32."""
    window = SlidingWindowInferer(roi_size=(8, 8, 8), overlap=0.5, mode="constant")

    def rounded(patch):
        with torch.autocast("cpu", torch.bfloat16):
            return network(patch).float()

    scores = PrecisionInferer(window, "bfloat16")(image, network)

    assert scores.dtype == torch.float32
    assert torch.equal(scores, window(image, rounded))
    assert not torch.equal(scores, scores.bfloat16().float())


def test_a_sliding_window_of_a_metatensor_keeps_its_affine(network, image):
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    window = SlidingWindowInferer(roi_size=(8, 8, 8), overlap=0.5)

    scores = PrecisionInferer(window, "float32")(MetaTensor(image, affine=affine), network)

    assert torch.equal(scores.affine, affine)
    assert torch.equal(scores.as_tensor(), window(image, network))


def test_training_passes_gradients_in_float32(network, image):
    scores = PrecisionInferer(SimpleInferer(), "bfloat16")(image, network)
    scores.square().mean().backward()

    with torch.autocast("cpu", torch.bfloat16):
        reduced = network(image)
    expected = torch.autograd.grad(reduced.float().square().mean(), list(network.parameters()))
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.abs().max() > 0
        assert torch.equal(parameter.grad, gradient)


def test_a_window_more_arguments_reach_the_network(image):
    scores = PrecisionInferer(SimpleInferer(), "float32")(
        image, lambda x, factor, shift: x * factor + shift, 2, shift=1
    )

    assert torch.equal(scores, image * 2 + 1)


@pytest.fixture
def flat_network():
    """Return a 2D network with a receptive field of 3 x 3 pixels that records the shapes of its windows."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    network.window_shapes = []
    network.register_forward_hook(
        lambda module, arguments, output: module.window_shapes.append(arguments[0].shape)
    )
    return network


def test_a_volume_is_segmented_slice_by_slice_in_batches(flat_network):
    volume = torch.randn(1, 1, 12, 10, 7, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        scores = SliceInferer([12, 10], sw_batch_size=4)(volume, flat_network)
        alone = [flat_network(volume[..., index]) for index in range(7)]

    torch.testing.assert_close(scores, torch.stack(alone, dim=-1))
    assert [shape[0] for shape in flat_network.window_shapes[:2]] == [4, 3]


def test_a_slice_goes_through_the_same_inferer(flat_network):
    image = torch.randn(1, 1, 12, 10, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        torch.testing.assert_close(SliceInferer([12, 10])(image, flat_network), flat_network(image))


@pytest.mark.parametrize("size", [(9, 20, 3), (9, 20)], ids=str)
def test_sizes_below_and_above_the_window_are_covered(flat_network, size):
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        scores = PrecisionInferer(SliceInferer([12, 12], overlap=0.5), "float32")(image, flat_network)

    assert scores.shape == (1, 2, *size)
    assert scores.isfinite().all()
    assert {shape[2:] for shape in flat_network.window_shapes} == {(12, 12)}


def test_mirror_images_are_averaged_in_place(network, image):
    averaged = FlipInferer(SimpleInferer(), [0, 2])

    expected = sum(network(image.flip(dims)).flip(dims) for dims in ((), (2,), (4,), (2, 4))) / 4
    torch.testing.assert_close(averaged(image, network), expected)
    assert not torch.allclose(expected, network(image))


@pytest.mark.parametrize("flips", [[0], [1, 2], [0, 1, 2]])
def test_averaged_scores_turn_with_the_image(network, image, flips):
    averaged = FlipInferer(SimpleInferer(), flips)

    for axis in flips:
        mirrored = averaged(image.flip(2 + axis), network)
        torch.testing.assert_close(mirrored.flip(2 + axis), averaged(image, network))


def test_no_mirror_images_are_the_bare_network(network, image):
    assert torch.equal(FlipInferer(SimpleInferer())(image, network), network(image))


def test_windows_are_mirrored_not_the_image(network, image):
    window_shapes = []

    def looking(window):
        window_shapes.append(tuple(window.shape))
        return network(window)

    window = SlidingWindowInferer(roi_size=(8, 8, 8), sw_batch_size=4, overlap=0.5)
    FlipInferer(window, [1])(image, looking)
    assert {shape[2:] for shape in window_shapes} == {(8, 8, 8)}
    assert len(window_shapes) % 2 == 0


@pytest.mark.parametrize("flips", [[0, 0], [-1], [1.0], ["x"]])
def test_flips_that_are_no_axes_are_refused(flips):
    with pytest.raises(SegpipeError, match="each must be an axis, from 0, and none may come twice"):
        FlipInferer(SimpleInferer(), flips)


def test_flips_along_an_axis_that_is_not_there_are_refused(network, image):
    with pytest.raises(
        SegpipeError, match=r"flips in YAML\) is \[3\], but the network's input has the axes 0 to 2"
    ):
        FlipInferer(SimpleInferer(), [3])(image, network)


def test_mirror_images_of_a_classifier_have_scores_without_axes():
    """The scores are the image's corners, so that the mean over four mirror images is that of all corners."""
    image = torch.arange(24.0).reshape(2, 1, 3, 4)

    def corners(window):
        return torch.stack([window[:, 0, 0, 0], window[:, 0, 0, -1]], dim=1)

    scores = FlipInferer(SimpleInferer(), [0, 1])(image, corners)

    torch.testing.assert_close(scores, torch.tensor([[5.5, 5.5], [17.5, 17.5]]))
    one_axis = FlipInferer(PrecisionInferer(SimpleInferer(), "float32"), [0])(image, corners)
    torch.testing.assert_close(one_axis, torch.tensor([[4.0, 7.0], [16.0, 19.0]]))
