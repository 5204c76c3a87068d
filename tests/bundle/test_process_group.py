"""What the processes of a training share, and what they are refused."""

import logging
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from segpipe.bundle import process_group
from segpipe.bundle.process_group import join_process_group, prepare_for_ranks, share_batch_norms
from segpipe.errors import SegpipeError
from segpipe.losses import OverRanks
from segpipe.ranks import LOST_PEER


@pytest.fixture
def group(monkeypatch):
    """Return a function that makes this process one of two, over Gloo or NCCL."""

    def join(backend):
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "get_backend", lambda: backend)

    return join


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))


def test_batch_norms_of_processors_are_refused(group):
    group("gloo")

    with pytest.raises(
        SegpipeError, match=r"the network has 1 batch norms, the first at 1\.0, whose statistics"
    ) as it:
        share_batch_norms(network())

    assert "PyTorch shares them among cards only, not among 2 processes on processors" in str(it.value)
    share_batch_norms(nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4)))


def test_batch_norms_of_cards_are_shared_in_place(group):
    group("nccl")
    model = network()
    names, parameters = list(model.state_dict()), list(model.parameters())

    share_batch_norms(model)
    share_batch_norms(model)  # nothing is left to do

    assert isinstance(model[1][0], nn.SyncBatchNorm)
    assert list(model.state_dict()) == names
    assert all(now is then for now, then in zip(model.parameters(), parameters, strict=True))


def test_one_process_keeps_its_batch_norms_and_its_loss():
    trainer = SimpleNamespace(network=network(), loss_function=nn.CrossEntropyLoss())

    prepare_for_ranks(trainer)

    assert type(trainer.network[1][0]) is nn.BatchNorm2d
    assert type(trainer.loss_function) is nn.CrossEntropyLoss


def test_several_processes_minimise_the_loss_of_all(group):
    group("nccl")
    loss = nn.CrossEntropyLoss()
    trainer = SimpleNamespace(network=network(), loss_function=loss)

    prepare_for_ranks(trainer)
    prepare_for_ranks(trainer)

    assert isinstance(trainer.loss_function, OverRanks)
    assert trainer.loss_function.loss is loss


def test_the_file_for_several_processes_needs_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)

    with pytest.raises(
        SegpipeError, match="processes that torchrun starts, and this one was not; use segpipe train"
    ):
        join_process_group()


def test_more_processes_than_cards_are_refused_by_every_rank_alike(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    for number in "012":
        monkeypatch.setenv("LOCAL_RANK", number)
        with pytest.raises(SegpipeError) as refused:
            join_process_group(f"cuda:{number}")
        assert str(refused.value) == (
            "3 processes on this machine, and it has 2 cards: each process needs one; start 2 (segpipe train: "
            "--processes 2, torchrun: --nproc-per-node 2)"
        )


def test_a_process_that_lost_its_peer_ends_without_a_traceback(monkeypatch, capfd):
    passed = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: passed.append(error))
    monkeypatch.setattr(process_group, "_SECONDS_TO_BE_ENDED", 0)
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    process_group._end_quietly_without_peers()
    lost = RuntimeError(
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:2"
    )
    wrapped = RuntimeError("the engine ended")
    wrapped.__cause__ = lost

    with pytest.raises(SystemExit) as ended:
        sys.excepthook(RuntimeError, wrapped, None)
    assert ended.value.code == LOST_PEER
    assert capfd.readouterr().err == f"segpipe: rank 0 lost its peers: {lost}\n"
    own = (ValueError, ValueError("a defect"), None)
    sys.excepthook(*own)

    assert passed == [own]
    shown = [
        bool(handler.filter(logging.LogRecord("ignite", level, "", 0, text, (), None)))
        for level, text in (
            (logging.ERROR, str(lost)),
            (logging.ERROR, "a defect"),
            (logging.INFO, str(lost)),
        )
    ]
    assert shown == [False, True, True]
