"""A classifier gives the numbers of MONAI's own run, whatever the batch."""

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from tiny_classifier import CLASSES, FINDINGS, grey_image, write_classifier, write_images, write_x_ray

from segpipe.bundle.open_classifier import open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.csv_files import read_csv
from segpipe.errors import SegpipeError
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.classify import classify


@pytest.fixture
def images(tmp_path):
    write_x_ray(tmp_path / "images" / "ray.dcm", grey_image(7), "MONOCHROME1")
    return write_images(tmp_path / "images", 6)


def by_monai(bundle, images, out):
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.yaml"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=None,
        workflow_type="inference",
        bundle_root=str(bundle),
        dataset_dir=str(images),
        output_dir=str(out),
    )
    workflow.initialize()
    workflow.run()
    return read_csv(out / "predictions.csv")


@pytest.mark.parametrize("categories", [CLASSES, FINDINGS], ids=lambda one: one.target)
def test_the_table_is_that_of_monai_s_run(categories, tmp_path, images):
    bundle = write_classifier(tmp_path / "tiny", categories)

    classify(images, bundle, tmp_path / "ours")
    ours = read_csv(tmp_path / "ours" / "predictions.csv")
    theirs = by_monai(bundle, images, tmp_path / "theirs")

    assert len(ours) == 7
    for mine, other in zip(ours, theirs, strict=True):
        columns = [name for name in mine if name.startswith("p_")]
        np.testing.assert_allclose(
            [float(mine[name]) for name in columns], [float(other[name]) for name in columns], atol=1e-6
        )
        assert {name: mine[name] for name in mine if name not in columns} == {
            name: other[name] for name in other if name not in columns
        }


def test_probabilities_by_hand(tmp_path, images):
    """Temperature 2: the softmax of half the logits."""
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    classifier = Classifier(opened)
    image = classifier.read(str(images / "image_000.png"))

    with torch.inference_mode():
        logits = opened.network(image[None])[0].double()
    found = classifier.probabilities("a", classifier.logits([image])[0])

    expected = (logits / 2).softmax(0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.sum() == pytest.approx(1)


def test_batches_do_not_change_the_numbers(tmp_path, images):
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    read = [Classifier(opened).read(str(path)) for path in sorted(images.glob("*.png"))]

    one = Classifier(opened, batch_size=1).logits(read)

    np.testing.assert_allclose(Classifier(opened, batch_size=4).logits(read), one, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 8])
def test_the_images_beside_one_do_not_change_its_numbers(tmp_path, images, batch_size):
    """Not in a bit: parts of a cohort, and runs that continue one, divide its images in other ways.

    On some processors the last layer of 8 images gives other last digits at the places from 4 on.
    """
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    classifier = Classifier(opened, batch_size=batch_size)
    read = [classifier.read(str(path)) for path in sorted(images.glob("*.png"))]
    sizes, compute = [], classifier._batch
    classifier._batch = lambda batch: sizes.append(len(batch)) or compute(batch)

    whole = classifier.logits(read)

    parts = [classifier.logits(read[start::3]) for start in range(3)]
    for start, part in enumerate(parts):
        np.testing.assert_array_equal(part, whole[start::3], strict=True)
    assert set(sizes) <= {batch_size, classifier.batch_size}
    assert classifier.batch_size in (batch_size, 1)


def test_a_network_whose_numbers_depend_on_the_place_computes_one_by_one(tmp_path, images):
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    told = []
    classifier = Classifier(opened, batch_size=4, report=told.append)
    read = [classifier.read(str(path)) for path in sorted(images.glob("*.png"))]
    alone = Classifier(opened, batch_size=1).logits(read)
    plain = classifier._inferer
    classifier._inferer = lambda batch, network: plain(batch, network) + torch.arange(len(batch))[:, None]

    np.testing.assert_array_equal(classifier.logits(read), alone)

    assert told == [
        "images are computed one by one: in batches of 4, last digits depend on the place of an image"
    ]


def test_less_memory_halves_the_batch(tmp_path, images, monkeypatch):
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    told = []
    classifier = Classifier(opened, batch_size=6, report=told.append)
    read = [classifier.read(str(path)) for path in sorted(images.glob("*.png"))]
    whole = Classifier(opened).logits(read)
    compute = classifier._batch

    def limited(batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(batch)

    monkeypatch.setattr(classifier, "_batch", limited)
    np.testing.assert_allclose(classifier.logits(read), whole, atol=1e-5)
    assert told == [f"out of memory: batches of {count} from now on" for count in (3, 2)]


def test_mirror_images_are_averaged(tmp_path, images):
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    image = Classifier(opened).read(str(images / "image_000.png"))

    plain = Classifier(opened)
    mean = (plain.logits([image]) + plain.logits([image.flip(2)])) / 2

    np.testing.assert_allclose(Classifier(opened, flips=(1,)).logits([image]), mean, atol=1e-5)


def test_a_network_of_another_shape(tmp_path, images):
    opened = open_classifier(write_classifier(tmp_path / "tiny"))
    classifier = Classifier(opened)
    image = classifier.read(str(images / "image_000.png"))
    opened.network.classifier = torch.nn.Linear(opened.network.classifier.in_features, 5)

    with pytest.raises(SegpipeError, match=r"gives shape \(4, 5\) for 4 images, must be \(4, 3\)"):
        classifier.logits([image])


def test_the_precision_of_the_bundle_unless_it_is_given(tmp_path):
    opened = open_classifier(write_classifier(tmp_path / "tiny"))

    assert Classifier(opened).precision == "float32"
    assert Classifier(opened, "bfloat16").precision == "bfloat16"
    automatic = open_classifier(BundleSource(tmp_path / "tiny", overrides={"precision": "auto"}))
    assert Classifier(automatic).precision == "auto"
