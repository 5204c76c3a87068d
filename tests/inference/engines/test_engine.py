"""How processor threads are shared out among windows that are computed at a time."""

import pytest
import torch

from segpipe.inference.engines.engine import EngineJob


@pytest.mark.parametrize(
    ("threads", "at_once", "fixed", "streams", "a_window"),
    [
        (1, 4, 0, 1, 1),
        (2, 4, 0, 2, 1),
        (8, 4, 0, 4, 2),
        (5, 2, 0, 2, 2),  # one core is left over
        (8, 1, 0, 1, 8),
        (8, 4, 1, 4, 1),  # an earlier run had one core
        (8, 4, 4, 2, 4),
        (1, 4, 2, 1, 2),  # an earlier run had more cores: it is slower here, and the same
    ],
)
def test_threads_of_a_window(threads, at_once, fixed, streams, a_window):
    job = EngineJob(torch.nn.Identity(), torch.zeros(1, 1, 4, 4), "", at_once, threads, None, fixed)

    assert (job.streams, job.threads_a_window) == (streams, a_window)
