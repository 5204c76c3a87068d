"""segpipe predict writes the same label maps as MONAI's run of the bundle's inference.yaml."""

import math

import monai.bundle
import numpy as np
import pytest
import torch
import yaml
from tiny_bundle import write_broken, write_bundle, write_scan

from segpipe import PredictOptions, predict
from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.prediction.estimate import estimate
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import find_scans, output_path, read_volume, write_volume

EXACT = PredictOptions(precision="float32", overlays=False)
LEAST = 0.999  # of the voxels; the others are ties between sums in another order


@pytest.fixture
def weights(bundle, request, tmp_path):
    """Return weights that predict several classes: trained weights for MRI, random weights for CT."""
    if bundle.modality == "MR":
        return request.getfixturevalue("finished_run") / "best.pt"
    return random_weights(bundle, tmp_path / "random.pt")


def random_weights(bundle, path):
    image, _, _ = bundle.kind.make(5, 0)
    windowed = np.clip((image.astype(np.float32) + 1000) / 1400, 0, 1)
    scaled = torch.from_numpy((windowed - windowed.mean()) / windowed.std())[None, None]
    for seed in range(50):
        torch.manual_seed(seed)
        network = bundle.parser("inference").get_parsed_content("network_def").eval()
        with torch.no_grad():
            counts = torch.bincount(network(scaled).argmax(1).flatten(), minlength=4)
        if counts.sort().values[-2] > 0.1 * counts.sum():
            torch.save(network.state_dict(), path)
            return path
    return pytest.fail("no random weights that answer with several classes")


def monais_run(bundle, scans, out, weights, **overrides):
    bundle.run(
        "inference",
        bundle_root=str(bundle.root),
        dataset_dir=str(scans),
        output_dir=str(out),
        weights=[str(path) for path in weights],
        device="cpu",
        **{"precision": "float32", **bundle.window, **overrides},
    )


def our_run(bundle, scans, out, weights, options=EXACT, **overrides):
    predictions = predict(
        scans,
        BundleSource(bundle.root, weights=weights, overrides={**bundle.window, **overrides}, device="cpu"),
        out,
        options=options,
    )
    assert {prediction.reason for prediction in predictions} == {
        ""
    }  # none failed or went through MONAI's chain
    return predictions


def compare(scans, out, expected, least=LEAST):
    """Compare every label map, voxels and grid; return each scan's share of equal voxels."""
    shares, labels = {}, set()
    for scan in find_scans(scans):
        one, other = (read_volume(output_path(scan, folder)) for folder in (out, expected))
        assert one.grid.differences(other.grid) == [], scan.name
        assert one.array.dtype == other.array.dtype, scan.name
        shares[scan.name] = float(np.mean(one.array == other.array))
        labels |= set(np.unique(one.array).tolist())
    assert min(shares.values()) > least, shares
    assert len(labels) > 1, "nothing but background agrees with anything"
    return shares


def linked(folder, scans):
    """Return a folder with links to these scans; a header without its voxel file would be no scan."""
    folder.mkdir()
    for scan in scans:
        (folder / scan.name).symlink_to(scan.resolve())
    return folder


@pytest.mark.every_bundle
@pytest.mark.slow
def test_label_maps_are_those_of_monais_run(bundle, weights, phantom_scans, tmp_path):
    """MRI: an oblique scan, two scans of unequal spacing and a DICOM series; CT: volumes and a slice."""
    scans, _ = phantom_scans

    predictions = our_run(bundle, scans, tmp_path / "ours", [weights])
    monais_run(bundle, scans, tmp_path / "monais", [weights])

    assert len(predictions) == 4
    compare(scans, tmp_path / "ours", tmp_path / "monais")


@pytest.mark.every_bundle
@pytest.mark.slow
def test_streamed_and_by_monais_chain_are_the_same(bundle, weights, phantom_scans):
    opened = open_bundle(
        BundleSource(
            bundle.root, weights=[weights], overrides={**bundle.window, "precision": "float32"}, device="cpu"
        )
    )
    segmenter = Segmenter(opened)
    for scan in find_scans(phantom_scans[0]):
        grid = read_volume(scan.path).grid
        image = segmenter.prepare(opened.load({"image": str(scan.path)})["image"])

        streamed = segmenter.segment(image, grid)
        by_monai = segmenter._by_monai(image, grid, "asked")

        assert streamed.fallback is None, scan.name
        assert np.mean(streamed.labels == by_monai.labels) > LEAST, scan.name


@pytest.mark.every_bundle("CT")
@pytest.mark.slow
def test_windows_that_overlap_in_slices(bundle, weights, phantom_scans, tmp_path):
    """A slice and a volume of three slices have 96 pixels; windows of 66, 16 apart, are nine a slice."""
    scans = linked(
        tmp_path / "scans",
        [path for name in ("nrrd", "metaimage") for path in (phantom_scans[0] / name).iterdir()],
    )
    window = {"window_size": [66, 66], "overlap": 0.75}

    our_run(bundle, scans, tmp_path / "ours", [weights], **window)
    monais_run(bundle, scans, tmp_path / "monais", [weights], **window)

    compare(scans, tmp_path / "ours", tmp_path / "monais")


@pytest.mark.every_bundle("CT")
@pytest.mark.slow
def test_without_mirror_images_as_with_flips_empty(bundle, weights, phantom_scans, tmp_path):
    scans, _ = phantom_scans
    plain = PredictOptions(precision="float32", overlays=False, flips=())

    our_run(bundle, scans, tmp_path / "ours", [weights], plain)
    our_run(bundle, scans, tmp_path / "mirrored", [weights])
    monais_run(bundle, scans, tmp_path / "monais", [weights], flips=[])

    compare(scans, tmp_path / "ours", tmp_path / "monais")
    with pytest.raises(AssertionError):  # the bundle's own are mirrored
        compare(scans, tmp_path / "mirrored", tmp_path / "monais")


@pytest.mark.slow
def test_an_ensemble_is_that_of_monais_run(bundle, finished_run, phantom_scans, tmp_path):
    scans = phantom_scans[0] / "metaimage"
    network = bundle.parser("inference").get_parsed_content("network_def")
    torch.save(network.state_dict(), tmp_path / "random.pt")
    ensemble = [finished_run / "best.pt", tmp_path / "random.pt"]

    our_run(bundle, scans, tmp_path / "ours", ensemble)
    our_run(bundle, scans, tmp_path / "alone", ensemble[:1])
    monais_run(bundle, scans, tmp_path / "monais", ensemble)

    compare(scans, tmp_path / "ours", tmp_path / "monais")
    with pytest.raises(AssertionError):
        compare(scans, tmp_path / "alone", tmp_path / "monais")


@pytest.mark.slow
@pytest.mark.realdata
def test_on_hippocampi_the_shipped_weights_give_what_monais_run_gives(bundle, real_data, tmp_path):
    """NIfTI and DICOM; in bfloat16, 99.9 % of the voxels are equal."""
    nifti = sorted((real_data("hippocampus") / "imagesTr").glob("*.nii.gz"))[::40]
    scans = linked(tmp_path / "scans", [*nifti, *real_data("hippocampus_dicom").iterdir()])
    shipped = [bundle.root / "models" / "model.pt"]
    reduced = PredictOptions(precision="bfloat16", overlays=False)

    our_run(bundle, scans, tmp_path / "ours", shipped)
    our_run(bundle, scans, tmp_path / "reduced", shipped, reduced)
    monais_run(bundle, scans, tmp_path / "monais", shipped)

    assert len(compare(scans, tmp_path / "ours", tmp_path / "monais", least=0.9999)) == len(nifti) + 2
    compare(scans, tmp_path / "reduced", tmp_path / "monais")


@pytest.mark.every_bundle("CT")
@pytest.mark.slow
@pytest.mark.realdata
def test_label_maps_of_lungs_are_those_of_monais_run(bundle, weights, real_data, tmp_path):
    """Three 8-bit slices, with the shipped weights if they exist; and a series of three slices in HU."""
    names = [f"slice_{number:03d}{suffix}" for number in (1, 40, 80) for suffix in (".mhd", ".zraw")]
    images = real_data("covid_ct_512") / "images"
    scans = linked(
        tmp_path / "scans", [*(images / name for name in names), real_data("dicom_seg") / "ct-3slice"]
    )
    shipped = bundle.root / "models" / "model.pt"
    used = [shipped if shipped.is_file() else weights]
    whole = {"slice_size": [512, 512], "window_size": [512, 512]}

    our_run(bundle, scans, tmp_path / "ours", used, **whole)
    monais_run(bundle, scans, tmp_path / "monais", used, **whole)

    assert len(compare(scans, tmp_path / "ours", tmp_path / "monais")) == 4


@pytest.mark.every_bundle("CT")
@pytest.mark.slow
@pytest.mark.realdata
def test_label_maps_of_a_volume_are_those_of_monais_run(bundle, weights, real_data, tmp_path):
    """A spleen CT of 512 x 512 x 32 voxels, one window a slice, with mirror flips."""
    (scan,) = (real_data("spleen") / "imagesTr").glob("*.nii.gz")
    scans = linked(tmp_path / "scans", [scan])
    whole = {"slice_size": [512, 512], "window_size": [512, 512]}

    our_run(bundle, scans, tmp_path / "ours", [weights], **whole)
    monais_run(bundle, scans, tmp_path / "monais", [weights], **whole)

    compare(scans, tmp_path / "ours", tmp_path / "monais")


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("files", "spacing_mm"),
    [
        ("nrrd/*_image.nrrd", [1.5, 1.5, 2.5]),
        ("mhd/3DCT_lung_baseline_small.mha", [3.0, 2.5, 4.0]),
        ("sts_ct/STS_00[1-3]/CT_image.nii.gz", [2.0, 2.0, 2.0]),
        ("spleen/imagesTr/*.nii.gz", [2.0, 2.0, 2.0]),
    ],
    ids=["nrrd", "mha", "thick slices", "512 x 512"],
)
def test_label_maps_on_grids_of_real_scans_are_those_of_monais_run(real_data, tmp_path, files, spacing_mm):
    """The network has random weights, because geometry counts: unequal spacings are resampled and inverted."""
    folder, _, pattern = files.partition("/")
    scan_files = sorted(real_data(folder).glob(pattern))
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, scan in enumerate(scan_files):
        (scans / f"{number}{''.join(scan.suffixes)}").symlink_to(scan.resolve())
    settings = {"window_size": [64, 64, 64], "overlap": 0.25, "spacing_mm": spacing_mm}
    small = write_bundle(tmp_path / "small", **settings)

    predictions = predict(scans, small, tmp_path / "ours", options=EXACT)
    monai.bundle.run(
        config_file=str(small / "configs" / "inference.yaml"),
        meta_file=str(small / "configs" / "metadata.json"),
        bundle_root=str(small),
        dataset_dir=str(scans),
        output_dir=str(tmp_path / "monais"),
    )

    assert {(prediction.outcome, prediction.reason) for prediction in predictions} == {("done", "")}
    assert len(compare(scans, tmp_path / "ours", tmp_path / "monais")) == len(scan_files) > 0


def tree(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size, path.is_file() and path.read_bytes())
        for path in sorted([folder, *folder.rglob("*")])
    }


class TestEstimate:
    """The estimate of a bundle with a small network."""

    @pytest.fixture
    def small(self, tmp_path):
        return write_bundle(tmp_path / "small")

    @pytest.fixture
    def cohort(self, tmp_path):
        for seed, (name, size) in enumerate(
            {"a": (16, 16, 16), "b": (16, 16, 16), "c": (32, 16, 16)}.items()
        ):
            write_scan(tmp_path / "scans" / f"{name}.nii.gz", seed, size)
        return tmp_path / "scans"

    @staticmethod
    def asked(*arguments, options=EXACT):
        return {row.case: row for row in estimate(*arguments, options=options)}

    def test_each_scan_is_segmented_skipped_or_refused(self, small, cohort, tmp_path):
        predict(cohort / "a.nii.gz", small, tmp_path / "out", options=EXACT)
        write_broken(cohort, "empty.nii.gz")
        write_broken(cohort, "slice.nii.gz")

        rows = self.asked(cohort, small, tmp_path / "out")

        assert {case: row.action for case, row in rows.items()} == {
            "a": "skip",
            "b": "segment",
            "c": "segment",
            "empty": "refuse",
            "slice": "refuse",
        }
        assert (rows["a"].reason, rows["a"].size) == ("done before", ())
        assert "empty.nii.gz" in rows["empty"].reason
        assert "slice.nii.gz: 2D with 1 channel(s), the bundle takes 3D with 1" in rows["slice"].reason
        assert (rows["c"].reason, rows["c"].size) == ("", (32, 16, 16))
        assert rows["c"].seconds > 0
        assert rows["c"].peak_bytes > 32 * 16 * 16 * 4

    def test_it_writes_nothing(self, small, cohort, tmp_path):
        predict(cohort / "a.nii.gz", small, tmp_path / "out", options=EXACT)
        before = tree(tmp_path)

        self.asked(cohort, small, tmp_path / "out")
        self.asked(cohort, small, tmp_path / "another")

        assert tree(tmp_path) == before

    def test_what_a_scan_takes_grows_with_it(self, small, cohort, tmp_path):
        rows = self.asked(cohort, small, tmp_path / "out")

        assert rows["c"].seconds == pytest.approx(2 * rows["a"].seconds, rel=0.01)
        assert rows["c"].peak_bytes > rows["a"].peak_bytes
        assert rows["a"].seconds == pytest.approx(rows["b"].seconds, rel=0.01)

    def test_other_settings_are_another_run(self, small, cohort, tmp_path):
        predict(cohort, small, tmp_path / "out", options=EXACT)

        done = self.asked(cohort, small, tmp_path / "out")
        again = self.asked(cohort, BundleSource(small, overrides={"overlap": 0.25}), tmp_path / "out")

        assert {row.action for row in done.values()} == {"skip"}
        assert {row.action for row in again.values()} == {"segment"}

    def test_a_file_in_the_way_is_refused_as_by_predict(self, small, cohort, tmp_path):
        write_scan(tmp_path / "out" / "a.nii.gz")

        rows = self.asked(cohort, small, tmp_path / "out")
        predictions = predict(cohort, small, tmp_path / "out", options=EXACT)

        assert rows["a"].action == "refuse"
        assert rows["a"].reason == predictions[0].reason

    def test_a_bundle_whose_chain_is_monais_has_its_memory_estimated(self, small, cohort, tmp_path):
        """The estimate counts all classes' scores before and after inversion; the time is unknown."""
        path = small / "configs" / "inference.yaml"
        configuration = yaml.safe_load(path.read_text())
        largest = {"_target_": "monai.transforms.KeepLargestConnectedComponentd", "keys": "pred"}
        configuration["postprocessing"]["transforms"].insert(2, {**largest, "applied_labels": [1]})
        path.write_text(yaml.safe_dump(configuration, sort_keys=False))

        rows = self.asked(cohort, small, tmp_path / "out")

        assert {row.action for row in rows.values()} == {"segment"}
        assert rows["c"].peak_bytes > rows["a"].peak_bytes > 0
        assert math.isnan(rows["c"].seconds)

    @pytest.mark.every_bundle("CT")
    def test_a_scan_that_the_chain_refuses_does_not_end_it(self, bundle, weights, tmp_path):
        """Only reading shows that voxels may or may not be HU; predict refuses the scan then."""
        write_scan(tmp_path / "scans" / "sixteen.mhd", size=(96, 96, 2))
        image, _, grid = bundle.kind.scans["nrrd/phantom.nrrd"](7, 0)
        write_volume(image, grid, tmp_path / "scans" / "good.nii.gz")
        source = BundleSource(bundle.root, weights=[weights], overrides=bundle.window, device="cpu")

        rows = estimate(tmp_path / "scans", source, tmp_path / "out", options=EXACT)
        predictions = predict(tmp_path / "scans", source, tmp_path / "out", options=EXACT)

        assert [row.case for row in rows] == ["good", "sixteen"]
        assert rows[0].action == "segment"
        assert [prediction.outcome for prediction in predictions] == ["done", "failed"]
        assert "neither 8-bit nor HU" in predictions[1].reason
