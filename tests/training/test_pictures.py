"""The content of pictures in a tiny training's log."""

import io

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from PIL import Image

from segpipe.confusion import confusion_matrix, foreground_dice
from segpipe.labels import LabelTable, class_color
from segpipe.training import pictures
from segpipe.training.pictures import _Worst, _worst_of_all
from segpipe.transforms.class_maps import class_map

EPOCHS = [1, 2, 3, 4]


def decoded(event):
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


@pytest.mark.slow
def test_each_case_is_one_picture_at_every_validation(training):
    log = training().run().log()

    assert {tag: [event.step for event in log.Images(tag)] for tag in log.Tags()["images"]} == {
        "pictures/case_10": EPOCHS,
        "validation/worst_case": EPOCHS,
        "validation/confusion": EPOCHS,
    }


def test_a_tile_shows_the_image_in_grey_above_reference_and_prediction_in_colour(training):
    log = training(epochs=1).run().log()

    tile = decoded(log.Images("pictures/case_10")[0]).astype(int)

    coloured = np.flatnonzero((np.ptp(tile, axis=-1) > 60).any(axis=1))
    assert coloured.min() > len(tile) / 4  # a third is the image alone
    assert (np.abs(tile - class_color(1)).max(axis=-1) < 40).any()  # JPEG changes colours


@pytest.mark.parametrize("channels", [("T1",), ("T1", "FLAIR", "T2", "PD", "CT")])
def test_a_tile_names_every_channel_the_case_and_its_dice(monkeypatch, channels):
    captions = []
    monkeypatch.setattr(
        pictures, "captioned", lambda views, title, legend: captions.append((list(views), title, legend))
    )
    table = LabelTable.from_rows(
        {"index": index, "name": name, "color": class_color(index), "value": index}
        for index, name in enumerate(("background", "tumour", "cyst"))
    )
    drawing = pictures.ValidationPictures(None, table, image_channel=len(channels) - 1, channels=channels)
    maps = dict.fromkeys(("reference", "prediction"), np.ones((4, 4, 4), np.uint8))

    image = MetaTensor(torch.rand(len(channels), 4, 4, 4))
    drawing._tile("a", image, maps, np.array([0.75, np.nan]))
    drawing._tile("b", image, maps, np.array([np.nan, np.nan]))

    views = ["image", "reference", "prediction"]
    if len(channels) > 1:
        views = [*channels, "reference on CT", "prediction on CT"]
    legend = [(class_color(1), "tumour  0.750"), (class_color(2), "cyst  -")]
    assert captions[0] == (views, "a: Dice 0.750", legend)
    assert captions[1][1] == "b: no foreground"


def compared(made):
    """Return a list that fills with each validation's (case, confusion) pairs."""
    epochs = []

    def look(engine):
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            maps = [output[key].argmax(0).numpy() for key in ("pred", "label")]
            epochs[-1].append((record["case"], confusion_matrix(*maps, num_classes=2)))

    made.evaluator.add_event_handler(Events.EPOCH_STARTED, lambda _: epochs.append([]))
    made.evaluator.add_event_handler(Events.ITERATION_COMPLETED, look)
    return epochs


def test_the_worst_case_is_the_one_with_the_lowest_dice_under_its_name(training, monkeypatch):
    titles = []
    draw = pictures.captioned
    monkeypatch.setattr(
        pictures, "captioned", lambda views, title, legend: titles.append(title) or draw(views, title, legend)
    )
    made = training(validation=4, epochs=1)
    epochs = compared(made)
    made.run()

    dice = {case: foreground_dice(confusion).item() for case, confusion in epochs[0]}
    worst = min(dice, key=dice.get)
    assert titles[-1] == f"{worst}: Dice {dice[worst]:.3f}"


def test_the_confusion_is_of_all_cases(training, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        pictures,
        "confusion_picture",
        lambda counts, names, title: drawn.append(counts.copy()) or np.zeros((4, 4, 3), np.uint8),
    )
    made = training(validation=3, epochs=2)
    validations = compared(made)
    made.run()

    assert len(drawn) == 2
    for counts, pairs in zip(drawn, validations, strict=True):
        np.testing.assert_array_equal(counts, sum(confusion for _, confusion in pairs))


def test_nothing_of_a_scan_is_kept_after_a_validation(training):
    made = training(epochs=1)
    made.run()

    (handler,) = {
        handler.__self__
        for handlers in made.evaluator._event_handlers.values()
        for handler, *_ in handlers
        if isinstance(getattr(handler, "__self__", None), pictures.ValidationPictures)
    }
    assert handler._worst is None


def test_where_nothing_was_to_be_found_there_is_no_worst_case():
    assert _worst_of_all(None) is None


def test_the_worst_case_of_all_processes_is_drawn(monkeypatch):
    of_this_process, of_another = (
        _Worst(dice, f"case_{dice}", np.zeros((1, 1, 3), np.uint8)) for dice in (0.5, 0.25)
    )
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)

    def gather(into, _):
        into[:] = [of_this_process, None, of_another]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)

    assert _worst_of_all(of_this_process) is of_another


def test_maps_are_classes_whether_one_hot_or_not():
    indices = torch.randint(0, 3, (4, 5, 6))
    one_hot = torch.nn.functional.one_hot(indices, 3).movedim(-1, 0).float()

    for scores in (one_hot, indices[None]):
        classes = class_map(scores)
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, indices.numpy())
