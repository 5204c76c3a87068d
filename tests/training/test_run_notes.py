"""A run's texts and hyper-parameters in the log."""

import pytest
import torch
import yaml
from ignite.engine import Events
from monai.losses import DiceCELoss
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata

from segpipe.losses import DiceCrossEntropy, WeightedBinaryCrossEntropy
from segpipe.training.run_notes import _classes, _table, class_weights, hyper_parameters
from segpipe.training.tensorboard import CLASSIFICATION

VOXELS = {"background": 9_000, "ball": 1_000}


def text(training, tag):
    (event,) = training.log().Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_classes_are_listed_with_their_weights(training):
    made = training(epochs=1, loss=DiceCrossEntropy([0.5, 4.0]), class_voxels=VOXELS).run()

    assert text(made, "run/classes").splitlines() == [
        "| class | voxels of the training cases | share | weight in the loss |",
        "| --- | --- | --- | --- |",
        "| background | 9,000 | 90 % | 0.5 |",
        "| ball | 1,000 | 10 % | 4 |",
    ]


def test_a_loss_without_weights_weighs_all_alike(training):
    note = text(training(epochs=1, class_voxels=VOXELS).run(), "run/classes")

    assert note.startswith("The loss weighs all classes alike.\n\n| class ")
    assert note.endswith("| ball | 1,000 | 10 % | 1 |")


def test_configuration_and_environment_are_the_runs(training):
    made = training(epochs=1).run()

    block = text(made, "run/configuration")
    assert all(line.startswith("    ") for line in block.splitlines()), "a block of code in Markdown"
    assert yaml.safe_load(block) == {"seed": 0, "epochs": 1, "num_workers": 0}
    environment = text(made, "run/environment")
    assert f"| packages torch | {torch.__version__} |" in environment
    assert "| commit | " in environment


@pytest.mark.slow
def test_a_resumed_run_says_what_changed(training):
    broken = training(num_workers=0)
    broken.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    broken.trainer.run()
    state = torch.load(broken.folder.training_state)
    torch.save({**state, "stopped_early": False}, broken.folder.training_state)

    resumed = training(num_workers=1, resume=True).run()

    (event,) = resumed.log().Tensors("run/resumed/text_summary")
    assert event.step == 3
    note = event.tensor_proto.string_val[0].decode()
    assert "| num\\_workers | 0 | 1 |" in note
    assert "seed" not in note


def test_hyper_parameters_are_the_plain_numbers_and_words_without_bookkeeping():
    configuration = {
        "imports": ["$import torch"],
        "manifest": "hippocampus",
        "checksums": True,
        "reference_ranges": True,
        "cache": True,
        "val_interval": 2,
        "augments": True,
        "precision": "auto",
        "learning_rate": 1e-3,
        "epochs": 24,
        "patch_size": [40, 56, 40],
        "stages": [[8, 8], [16]],
        "weighting": "$losses.median_frequency_weights",
        "network": "$@network_def.to(@device)",
        "vgg16_weights": None,
        "loss": {"_target_": "torch.nn.CrossEntropyLoss"},
        "about": "x" * 100,
    }

    assert hyper_parameters(configuration) == {
        "augments": "true",
        "precision": "auto",
        "learning_rate": 1e-3,
        "epochs": 24,
        "patch_size": "[40, 56, 40]",
        "stages": "[[8, 8], [16]]",
        "weighting": "losses.median_frequency_weights",
    }


def plugin_data(training, tag):
    """Return the log's data for a plugin, for each entry of the tag."""
    (file,) = training.folder.tensorboard.iterdir()
    return [
        value.metadata.plugin_data.content
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.tag == tag
    ]


def test_hyper_parameters_and_the_end_are_logged_once_without_what_says_only_how(training):
    made = training(epochs=2).run()

    (start,) = plugin_data(made, metadata.SESSION_START_INFO_TAG)
    parameters = metadata.parse_session_start_info_plugin_data(start).hparams
    assert {name: value.number_value for name, value in parameters.items()} == {"seed": 0, "epochs": 2}
    (experiment,) = plugin_data(made, metadata.EXPERIMENT_TAG)
    metrics = [info.name.tag for info in metadata.parse_experiment_plugin_data(experiment).metric_infos]
    assert metrics == ["dice/mean", "loss/train"]
    assert set(metrics) <= set(made.scalars())
    assert len(plugin_data(made, metadata.SESSION_END_INFO_TAG)) == 1


def test_a_run_that_was_broken_off_has_no_end(training):
    made = training(epochs=2)
    made.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.run()

    assert len(plugin_data(made, metadata.SESSION_START_INFO_TAG)) == 1
    assert plugin_data(made, metadata.SESSION_END_INFO_TAG) == []


def test_the_layout_shows_loss_and_dice_first(training):
    made = training(epochs=1).run()

    (event,) = made.log().Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["Learning", "Optimiser", "Speed and memory"]
    assert [list(chart.multiline.tag) for chart in layout.category[0].chart][:2] == [
        ["^loss/.*"],
        ["^dice/.*"],
    ]


def test_the_layout_has_a_chart_of_terms_where_there_are_any(training):
    for loss, shown in ((DiceCrossEntropy(), True), (DiceCELoss(to_onehot_y=True, softmax=True), False)):
        made = training(f"shown {shown}", epochs=1, loss=loss).run()

        (event,) = made.log().Tensors("custom_scalars__config__")
        charts = Layout.FromString(event.tensor_proto.string_val[0]).category[0].chart
        assert ("Terms of the loss" in [chart.title for chart in charts]) == shown


def test_weights_are_found_in_losses_of_others():
    weights = torch.tensor([1.0, 2.0, 3.0])

    assert class_weights(torch.nn.CrossEntropyLoss(weights), 3) == [1, 2, 3]
    assert class_weights(DiceCELoss(softmax=True, weight=weights), 3) == [1, 2, 3]
    assert class_weights(DiceCrossEntropy(), 3) is None
    assert class_weights(torch.nn.functional.cross_entropy, 3) is None


def test_signs_of_markdown_are_shown_as_they_are():
    assert _table(("a|b",), [("x_y *z*",), (None,)]).splitlines() == [
        "| a\\|b |",
        "| --- |",
        "| x\\_y \\*z\\* |",
        "| - |",
    ]


def test_findings_are_listed_with_a_pair_of_weights():
    loss = WeightedBinaryCrossEntropy([[0.75, 0.25], [0.9, 0.1]])

    assert _classes({"Effusion": 3, "Mass": 1}, loss, CLASSIFICATION).splitlines() == [
        "| class | images of the training cases | share of the sum | weight in the loss |",
        "| --- | --- | --- | --- |",
        "| Effusion | 3 | 75 % | 0.75 with, 0.25 without |",
        "| Mass | 1 | 25 % | 0.9 with, 0.1 without |",
    ]


def test_no_image_with_any_finding_is_no_error():
    listed = _classes({"Effusion": 0, "Mass": 0}, WeightedBinaryCrossEntropy(), CLASSIFICATION)

    assert "| Mass | 0 | 0 % | 1 |" in listed
