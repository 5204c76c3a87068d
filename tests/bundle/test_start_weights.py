"""A training that starts from other weights: fixed layers, learning rates, and the record."""

import json

import pytest
import torch
from refusals import refusal_of

from segpipe.bundle import parameter_groups, start_from_weights
from segpipe.bundle.source_weights import source_weights
from segpipe.bundle.start_weights import RECORD, Started, start_record, warning_of_seen
from segpipe.bundle.train_overlap import TrainingRecord
from segpipe.labels import Label, LabelTable, class_color
from segpipe.networks import Identity, SegNet, UNet, read_sidecar, save_weights
from segpipe.training import RunFolder, Unfreeze

LABELS = LabelTable(tuple(Label(index, name, class_color(index), index) for index, name in enumerate("ab")))
ROWS = LABELS.rows()


def record_of(tmp_path, network, rows=ROWS, **training):
    save_weights(tmp_path / "a.pt", network, Identity.of(network, [], rows), training)
    source = source_weights(tmp_path / "a.pt")
    return start_record(source, source.match(network, None, LABELS.output_names))


def started(tmp_path, network, **more):
    rows = [{"index": index, "name": name, "value": index} for index, name in enumerate("xy")]
    return Started(network, record_of(tmp_path, network, rows), **more)  # the head is new


def test_taken_layers_stay_as_they_are_while_they_are_frozen(tmp_path):
    network = SegNet(1, 2, stages=[[2], [2]], dropout=0.0)
    start = started(tmp_path, network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def step():
        network.train()  # as a trainer does
        optimizer.zero_grad()
        network(torch.randn(2, 1, 8, 8)).square().mean().backward()
        optimizer.step()

    handler = Unfreeze(start, 1)
    handler.freeze_in(1)
    step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"logits.0.conv.weight", "logits.0.conv.bias"}

    handler.freeze_in(2)
    step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == set(before)


def test_taken_layers_have_a_learning_rate_of_their_own(tmp_path):
    network = UNet(1, 2, (2, 4))
    start = started(tmp_path, network, taken_rate=0.5)

    others, taken = parameter_groups(network, 0.2, started=start)

    assert (others["lr"], taken["lr"]) == (0.2, 0.1)
    assert [id(one) for one in others["params"]] == [id(one) for one in network.logits.parameters()]
    assert len(others["params"]) + len(taken["params"]) == len(list(network.parameters()))


def test_one_rate_is_one_group_in_the_networks_order(tmp_path):
    network = UNet(1, 2, (2, 4))

    for start in (None, Started(network), started(tmp_path, network)):
        (group,) = parameter_groups(network, 0.2, started=start)
        assert group["lr"] == 0.2
        assert [id(one) for one in group["params"]] == [id(one) for one in network.parameters()]


@pytest.mark.parametrize("more", [{"freeze_epochs": 2}, {"taken_rate": 0.5}], ids=str)
def test_numbers_for_taken_layers_need_weights(tmp_path, more):
    ((name, value),) = more.items()

    refusal = refusal_of(
        start_from_weights, UNet(1, 2, (2, 4)), "none", LABELS, RunFolder(tmp_path, "run"), **more
    )

    assert refusal.startswith(f"{name} is {value}, but the training starts from random numbers")


def test_a_run_of_random_numbers_does_not_resume_from_weights(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training_state.pt").write_bytes(b"x")
    folder = RunFolder(tmp_path, "run", resume=True)

    assert refusal_of(start_from_weights, UNet(1, 2, (2, 4)), "a.pt", LABELS, folder) == (
        f"{tmp_path / 'run'}: this run did not start from other weights, and from_weights is a.pt; leave out "
        "from_weights to resume it, or choose another --run_name (segpipe train: run_name=NAME)"
    )


def test_a_resumed_run_reads_its_record_and_not_the_weights(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training_state.pt").write_bytes(b"x")
    folder, network = RunFolder(tmp_path, "run", resume=True), UNet(1, 2, (2, 4))
    record = record_of(tmp_path, network)
    (tmp_path / "run" / RECORD).write_text(json.dumps(record))
    (tmp_path / "a.pt").unlink()

    start = start_from_weights(network, tmp_path / "a.pt", LABELS, folder)

    assert start.taken == {one["layer"] for one in record["layers"]}
    (tmp_path / "run" / RECORD).write_text("[]")
    assert "is no record of the weights that a run starts from" in refusal_of(
        start_from_weights, network, tmp_path / "a.pt", LABELS, folder
    )


def test_the_log_has_a_line_for_each_layer(tmp_path):
    network = UNet(1, 2, (2, 4))
    start = started(tmp_path, network)

    head, counts, titles, first, *_, last = start.lines()

    sha256 = start.record["sha256"][:12]
    assert head == f"Start:      from a.pt (a.pt, SHA-256 {sha256}...)"
    assert counts == "            of 434 parameters: 428 taken, 0 adapted, 6 new"
    assert titles.split() == ["layer", "start", "parameters"]
    assert first.split() == ["down.0.0.conv", "taken", "20"]
    assert last.split()[:3] == ["logits", "new", "6"]
    assert Started(network).lines() == []


def test_training_cases_of_the_start_are_not_held_out(tmp_path):
    network = UNet(1, 2, (2, 4))
    cases = {"phantom_000": "11", "other": "22"}
    start = Started(network, record_of(tmp_path, network, cases=cases, manifest={"name": "set"}))
    provenance = {"cases": {"mine": "33"}, "manifest": {"name": "mine"}}

    start.note_in(provenance)
    save_weights(tmp_path / "b.pt", network, Identity.of(network, [], LABELS.rows()), provenance)
    record = TrainingRecord.of(tmp_path / "b.pt", read_sidecar(tmp_path / "b.pt"))

    assert start.seen({"renamed": "11", "new": "44"}) == ["renamed"]
    assert warning_of_seen(["renamed"], 2).startswith(
        "NOT HELD OUT: the weights to start from were trained on 1 of the 2 cases to validate with (renamed)"
    )
    assert (record.trained, record.started_on, record.started_manifest) == ({"mine": "33"}, cases, "set")
