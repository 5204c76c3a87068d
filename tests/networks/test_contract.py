"""The contract of every network of segpipe, whatever its architecture."""

import pytest
import torch
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.networks import ResidualEncoderUNet, SegNet, UNet


def residual(**arguments):
    """Return a network whose blocks do not merely pass on their input, as those of a new network do."""
    network = ResidualEncoderUNet(widths=(6, 8), blocks=(1, 2), **{"spatial_dims": 2} | arguments)
    for name, parameter in network.named_parameters():
        if name.endswith("adn.N.weight"):
            torch.nn.init.ones_(parameter)
    return network


SMALL = {
    "ResidualEncoderUNet": residual,
    "SegNet": lambda **arguments: SegNet(stages=((6, 6), (8,)), **arguments),
    "UNet": lambda **arguments: UNet(widths=(6, 8, 8), norm="batch", **arguments),
    "UNet with instance norm": lambda **arguments: UNet(widths=(6, 8), norm="instance", **arguments),
    "UNet without normalisation": lambda **arguments: UNet(widths=(6, 8), **arguments),
    "UNet of separable convolutions": lambda **arguments: UNet(
        widths=(6, 8), norm="batch", conv="separable", **arguments
    ),
    "UNet of dynamic convolutions with context": lambda spatial_dims=2, **arguments: UNet(
        widths=(6, 8),
        norm="batch",
        spatial_dims=spatial_dims,
        conv="dynamic",
        attention="multi_scale_context",
        slice_axis=2 if spatial_dims == 3 else None,
        **arguments,
    ),
}
SIZES = [(16, 16), (13, 10), (1, 7), (16, 8, 12), (9, 10, 5)]


@pytest.fixture(params=SMALL)
def make(request):
    torch.manual_seed(0)  # one in twenty of networks this narrow has a layer without a positive value
    return SMALL[request.param]


def image_of(size, batch=2, channels=1):
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_logits_are_as_large_as_the_image(make, size):
    network = make(in_channels=2, out_channels=3, spatial_dims=len(size))

    logits = network(image_of(size, channels=2))

    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(13, 10), (9, 10, 5)], ids=str)
def test_every_parameter_gets_a_finite_gradient(make, size):
    network = make(in_channels=1, out_channels=2, spatial_dims=len(size))

    network(image_of(size)).square().mean().backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # a bias in front of a batch norm is taken away again: its gradient is rounding
        assert name.endswith("bias") or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("size", [(16, 16), (13, 10), (9, 10, 5)], ids=str)
def test_it_scripts_and_the_script_takes_any_size(make, size):
    network = make(in_channels=1, out_channels=4, spatial_dims=len(size)).eval()

    script = torch.jit.script(network)

    for shape in (size, tuple(length + 1 for length in size)):
        torch.testing.assert_close(script(image_of(shape)), network(image_of(shape)))


def test_dropout_is_at_the_bottom_and_in_training_only(make):
    network = make(in_channels=1, out_channels=2, spatial_dims=2, dropout=0.4)
    image = image_of((12, 12), batch=1)
    sizes, bottom = [], []
    deepest = network.bottom if isinstance(network, UNet) else network.encoder[-1]
    deepest.register_forward_hook(lambda module, arguments, output: bottom.append(output.shape[-1]))
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, arguments, output: sizes.append(output.shape[-1]))

    one, other = network(image), network(image)

    assert not torch.equal(one, other)
    assert set(sizes) == {bottom[0]}
    network.eval()
    assert torch.equal(network(image), network(image))


@pytest.mark.slow
def test_it_learns_one_batch_by_heart(make):
    torch.manual_seed(0)
    network = make(in_channels=1, out_channels=2, spatial_dims=2)
    image = image_of((12, 12))
    target = (functional.avg_pool2d(image, 3, 1, 1)[:, 0] > 0.5).long()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)

    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(network(image), target).backward()
        optimizer.step()

    assert (network(image).argmax(1) == target).float().mean() > 0.97


def test_it_runs_and_repeats_under_deterministic_algorithms(make):
    def gradients():
        torch.manual_seed(0)
        network = make(in_channels=1, out_channels=2, spatial_dims=2)
        network(image_of((13, 10))).square().mean().backward()
        return [parameter.grad for parameter in network.parameters()]

    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)

    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_it_computes_in_bfloat16(make):
    network = make(in_channels=1, out_channels=2, spatial_dims=2).eval()

    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image_of((12, 12)))

    torch.testing.assert_close(logits.float(), network(image_of((12, 12))), atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 1, "out_channels": 2, "spatial_dims": 4}, "spatial_dims is 4; must be 2"),
        ({"in_channels": 0, "out_channels": 2}, r"0 channel\(s\) in"),
        ({"in_channels": 1, "out_channels": 1}, r"1 class\(es\) out"),
    ],
)
def test_impossible_arguments_are_refused(make, arguments, message):
    with pytest.raises(SegpipeError, match=message):
        make(**arguments)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of PyTorch, about its own exporter
@pytest.mark.parametrize("size", [(16, 16), (8, 12, 8)], ids=str)
def test_it_exports_to_onnx_for_any_size(make, size, tmp_path):
    """ONNX Runtime gives the network's scores, at the size of the export and at an odd size."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network = make(in_channels=1, out_channels=3, spatial_dims=len(size)).eval()
    free = {0: "batch"} | {axis + 2: f"size_{axis}" for axis in range(len(size))}

    program = torch.onnx.export(
        network, (image_of(size),), dynamo=True, dynamic_shapes=(free,), verbose=False
    )
    program.save(tmp_path / "network.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for shape in (size, tuple(length + 3 for length in size)):
        image = image_of(shape, batch=3)
        (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        torch.testing.assert_close(torch.as_tensor(logits), network(image).detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if name.startswith("UNet of")])
@pytest.mark.parametrize("size", [(13, 10), (9, 10, 5)], ids=str)
def test_other_convolutions_run_in_openvino(name, size):
    """segpipe's engine of processors gives the network's scores; the bundles' own networks have their tests there."""
    from segpipe.inference.engines.openvino_engine import converted_model
    from segpipe.inference.engines.silence import silent_openvino

    torch.manual_seed(0)
    network = SMALL[name](in_channels=1, out_channels=3, spatial_dims=len(size)).eval()
    image = image_of(size, batch=1)

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    program = silent_openvino().Core().compile_model(converted_model(network, image), "CPU", settings)

    torch.testing.assert_close(
        torch.as_tensor(program([image.numpy()])[0]), network(image).detach(), atol=1e-4, rtol=1e-3
    )
