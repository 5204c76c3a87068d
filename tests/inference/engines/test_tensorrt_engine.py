"""TensorRT, with a stand-in for MONAI's `trt_compile`: neither a card nor TensorRT is needed."""

from pathlib import Path

import pytest
import torch

from segpipe.inference.engines import tensorrt_engine
from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.engines.engine import CannotComputeError, EngineJob
from segpipe.inference.engines.tensorrt_engine import tensorrt_scores

BATCH = 3


class OnCard(torch.Tensor):
    """A tensor that says that it is on a card."""

    @property
    def device(self):
        return torch.device("cuda", 0)

    def repeat(self, *counts):
        return self.as_subclass(torch.Tensor).repeat(*counts)


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr("segpipe.inference.engines.kept.engine_versions", lambda engine: {engine: "10"})
    window = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)).as_subclass(OnCard)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    return EngineJob(network, window, "identity", BATCH, 1, EngineCache(tmp_path / "cache"))


@pytest.fixture
def compiled(monkeypatch):
    """Replace `trt_compile`; return the list of (precision, whether a plan was there, sizes of the batches)."""
    calls = []

    def trt_compile(network, base_path, args):
        plan, sizes = Path(f"{base_path}.plan"), []
        calls.append((args["precision"], plan.exists(), sizes))
        forward = network.forward

        def planned(windows):
            if not sizes and not plan.exists():
                plan.write_bytes(b"plan")
            sizes.append(len(windows))
            return forward(windows)

        network.forward = planned
        return network

    monkeypatch.setattr(tensorrt_engine, "trt_compile", trt_compile)
    return calls


def test_a_plan_is_made_once_and_batches_are_filled_up(job, compiled):
    windows = torch.randn(4, 1, 4, 4, 4)
    with torch.inference_mode():
        expected = job.network(windows)
        first, again = (tensorrt_scores(job, "float16")(windows) for _ in range(2))

    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(again, expected)
    assert [(precision, had_plan) for precision, had_plan, _ in compiled] == [
        ("fp16", False),
        ("fp16", True),
        ("fp16", True),
    ]
    assert [sizes for _, _, sizes in compiled] == [[3], [3, 3, 3], [3, 3, 3]]


def test_each_precision_has_its_plan(job, compiled):
    for precision in ("float32", "bfloat16", "float32"):
        tensorrt_scores(job, precision)

    assert [call[:2] for call in compiled] == [
        ("fp32", False),
        ("fp32", True),
        ("bf16", False),
        ("bf16", True),
        ("fp32", True),
    ]


def test_a_compiler_without_effect_is_no_engine(job, monkeypatch):
    """MONAI's function returns the network as it is, and logs a warning, where TensorRT cannot be imported."""
    monkeypatch.setattr(tensorrt_engine, "trt_compile", lambda network, base_path, args: network)

    with pytest.raises(CannotComputeError, match=r"the network cannot be converted .FileNotFoundError: "):
        tensorrt_scores(job, "float32")


def test_a_network_that_tensorrt_refuses(job, monkeypatch):
    def refuse(network, base_path, args):
        raise RuntimeError("Unsupported operator\nGridSample")

    monkeypatch.setattr(tensorrt_engine, "trt_compile", refuse)

    with pytest.raises(
        CannotComputeError, match=r"cannot be converted .RuntimeError: Unsupported operator GridSample"
    ):
        tensorrt_scores(job, "float32")


def test_a_processor_is_no_card(job):
    on_processor = EngineJob(job.network, torch.zeros(1, 1, 4, 4, 4), "identity", BATCH, 1, job.cache)

    with pytest.raises(CannotComputeError, match="it computes on CUDA cards alone"):
        tensorrt_scores(on_processor, "float32")
