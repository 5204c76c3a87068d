"""The estimated memory of a training step equals the measured memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segpipe.losses import DiceCrossEntropy
from segpipe.planning.memory import made, step_bytes
from segpipe.planning.plans import Architecture

VOLUMES = Architecture(
    "DynUNet", 3, 1, 3, ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3)), (8, 16, 32)
)
SLICES = Architecture("UNet", 2, 2, 4, ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (8, 16, 32))
STAGES = Architecture("SegNet", 2, 1, 2, ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (8, 16))


@pytest.mark.parametrize(
    ("architecture", "patch"),
    [(VOLUMES, (32, 32, 16)), (SLICES, (64, 64)), (STAGES, (64, 64))],
    ids=lambda v: str(v)[:20],
)
def test_activations_are_those_that_torch_keeps(architecture, patch):
    network = made(architecture)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    image, label = torch.randn(2, architecture.num_channels, *patch), torch.zeros(2, 1, *patch)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = DiceCrossEntropy()(network(image), label)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    activations = sum(storage.nbytes() for place, storage in kept.items() if place not in weights)
    loss.backward()

    estimate = step_bytes(architecture, 2, patch)
    parameters = sum(parameter.numel() for parameter in network.parameters()) * 4
    largest = max(storage.nbytes() for storage in kept.values())
    assert estimate == pytest.approx(activations + 3 * largest + 4 * parameters, rel=0.02)


def test_twice_the_batch_holds_twice_the_activations():
    weights = 16 * sum(parameter.numel() for parameter in made(VOLUMES).parameters())

    one, two = (step_bytes(VOLUMES, batch, (32, 32, 16)) - weights for batch in (1, 2))

    assert two == pytest.approx(2 * one, rel=0.01)


STEP = """
import torch
from pathlib import Path
from segpipe.losses import DiceCrossEntropy
from segpipe.planning.memory import made
from tests_architecture import architecture
network = made(architecture)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
def step(patch):
    image, label = torch.randn(2, 1, *patch), torch.zeros(2, 1, *patch)
    optimizer.zero_grad()
    DiceCrossEntropy()(network(image), label).backward()
    optimizer.step()
    status = Path("/proc/self/status").read_text()  # getrusage counts what the parent held, too
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(step((16, 16, 16)), max(step((80, 80, 80)) for _ in range(2)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux what a process held")
def test_a_process_grows_by_the_estimate(tmp_path):
    large = Architecture("DynUNet", 3, 1, 3, ((1,) * 3, (2,) * 3, (2,) * 3), ((3,) * 3,) * 3, (16, 32, 64))
    (tmp_path / "tests_architecture.py").write_text(
        f"from segpipe.planning.plans import Architecture\narchitecture = {large!r}\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", STEP], cwd=tmp_path, check=True, capture_output=True, text=True
    )

    before, peak = map(int, done.stdout.split())
    assert peak - before == pytest.approx(step_bytes(large, 2, (80, 80, 80)), rel=0.2)
