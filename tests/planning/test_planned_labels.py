"""Bundles planned for regions that overlap and for voxels that nobody looked at: checked, trained, scored."""

import csv
import json

import monai.bundle
import numpy as np
import pytest
from monai.bundle import ConfigParser

import segpipe
from segpipe.admission.gate import audit
from segpipe.bundle.check_run import configuration_findings
from segpipe.bundle.source import BundleSource
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.planning import PlanOptions, plan_bundle
from segpipe.prediction.options import PredictOptions
from segpipe.regions import NamedRegion
from segpipe.volumes import Grid, read_volume, write_label_map, write_volume

SIZE, IGNORED = (24, 20, 18), 9
CLASSES = {0: "background", 1: "oedema", 2: "core"}
REGIONS = (NamedRegion("whole", ("oedema", "core")), NamedRegion("inner/core", ("core",)))
KINDS = {
    "regions": (CLASSES, REGIONS, ()),
    "ignore": ({**CLASSES, IGNORED: "ignore"}, (), (1, 2, 4, 5)),
    "both": ({**CLASSES, IGNORED: "ignore"}, REGIONS, (1, 2, 4, 5)),
}


def write_set(folder, kind):
    """Write four volumes of two blocks, one in the other; every third slice is labelled where some are not."""
    classes, regions, unlabelled = KINDS[kind]
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1.0, 1.5, 1.0]))
    cases = []
    for number in range(4):
        labels = np.zeros(SIZE, np.uint8)
        labels[6:16, 5:15, 3:14] = 1
        labels[8:13, 7:12, 5:11] = 2
        voxels = np.random.default_rng(number).normal(100, 10, SIZE) + 60 * labels
        for place in unlabelled:
            labels[:, :, place::6] = IGNORED
        write_volume(voxels.astype(np.int16), grid, folder / f"images/c{number}.nii.gz")
        write_label_map(labels, grid, folder / f"labels/c{number}.nii.gz")
        files = (f"images/c{number}.nii.gz",), f"labels/c{number}.nii.gz"
        cases.append(Case(f"c{number}", *files, f"p{number}", number % 2))
    write_manifest(Manifest("mine", ("MRI",), classes, tuple(cases), regions=regions), folder / "set.json")
    return folder / "set.json"


def planned(folder, kind, **options):
    manifest = write_set(folder / "data", kind)
    return plan_bundle(manifest, manifest.parent, folder / "bundle", PlanOptions(**options)).root


@pytest.mark.parametrize("kind", KINDS)
def test_its_files_are_sound(kind, tmp_path):
    root = planned(tmp_path, kind)

    for names in (["train"], ["train", "evaluate"], ["inference"]):
        configuration = ConfigParser()
        files = [root / "configs" / f"{name}.yaml" for name in names]
        configuration.read_config(list(map(str, files)))
        configuration.read_meta(str(root / "configs" / "metadata.json"))
        assert configuration_findings(configuration) == [], names
        assert audit(root, files, logging_file=root / "configs" / "logging.conf") == [], names


def test_the_network_has_an_output_for_each_region(tmp_path):
    root = planned(tmp_path, "both")

    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert (outputs["num_channels"], outputs["channel_def"]) == (2, {"0": "whole", "1": "inner/core"})
    assert metadata["ignore_value"] == IGNORED
    assert [row["written_as"] for row in metadata["regions"]] == ["oedema", "core"]


def test_a_set_in_which_nobody_looked_at_a_case_is_refused(tmp_path):
    manifest = write_set(tmp_path / "data", "ignore")
    path = tmp_path / "data" / "labels" / "c1.nii.gz"
    label_map = read_volume(path)
    write_label_map(np.full(SIZE, IGNORED, np.uint8), label_map.grid, path)

    with pytest.raises(SegpipeError) as refusal:
        plan_bundle(manifest, manifest.parent, tmp_path / "bundle", PlanOptions())

    assert "c1: labels/c1.nii.gz: nobody looked at any voxel of the label map" in str(refusal.value)


def test_masks_of_regions_need_regions(tmp_path):
    from tiny_bundle import write_bundle, write_scan

    scan = write_scan(tmp_path / "scans" / "a.nii.gz")

    with pytest.raises(SegpipeError, match="has no regions, so there are no masks of regions to write"):
        segpipe.predict(
            scan, write_bundle(tmp_path / "bundle"), tmp_path / "out", options=PredictOptions(regions=True)
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["both", "ignore"])
def test_it_trains_and_is_scored_as_counted_and_segments(kind, tmp_path):
    """MONAI's run and segpipe write the same label maps; scores are counted again from the files."""
    root = str(planned(tmp_path, kind, epochs=3))
    # auto would be timed by predict, and may be bfloat16 in MONAI's run
    given = {"bundle_root": root, "device": "cpu", "run_name": "a", "precision": "float32"}
    monai.bundle.run(config_file=f"{root}/configs/train.yaml", reference_ranges=False, **given)
    names = [f"{root}/configs/{name}.yaml" for name in ("train", "evaluate")]
    monai.bundle.run(config_file=names, **given)
    weights, scans = [f"{root}/runs/a/best.pt"], tmp_path / "data" / "images"
    monai.bundle.run(
        config_file=f"{root}/configs/inference.yaml",
        bundle_root=root,
        dataset_dir=str(scans),
        output_dir=str(tmp_path / "monai"),
        weights=weights,
        device="cpu",
        precision="float32",
    )
    predictions = segpipe.predict(
        scans,
        BundleSource(root, weights=weights, device="cpu"),
        tmp_path / "ours",
        options=PredictOptions(regions=kind == "both", precision="float32"),
    )

    (table,) = (tmp_path / "bundle" / "runs" / "a").rglob("metrics.csv")
    rows = csv.DictReader(table.read_text().splitlines())
    scored = {(row["case"], row["class"]): row for row in rows}
    targets = {"whole": (1, 2), "inner/core": (2,)} if kind == "both" else {"oedema": (1,), "core": (2,)}
    for prediction in predictions:
        label_map = read_volume(prediction.label_map).array
        assert np.array_equal(label_map, read_volume(tmp_path / "monai" / f"{prediction.case}.nii.gz").array)
        assert IGNORED not in label_map
        reference = read_volume(tmp_path / "data" / "labels" / f"{prediction.case}.nii.gz").array
        for name, values in targets.items():
            inside = np.isin(label_map, values)
            assert {volume.label: volume.voxels for volume in prediction.volumes}[name] == inside.sum()
            if kind == "both":
                folder = tmp_path / "ours" / "regions" / name.replace("/", "_")
                assert np.array_equal(read_volume(folder / f"{prediction.case}.nii.gz").array, inside)
            if (prediction.case, name) not in scored:  # not in the validated fold
                continue
            looked, true = reference != IGNORED, np.isin(reference, values)
            both = 2 * (inside & true).sum() / ((inside & looked).sum() + true.sum())
            assert float(scored[prediction.case, name]["dice"]) == pytest.approx(both, abs=1e-6)
            assert scored[prediction.case, name]["hd95_mm"] == ""
    assert len(scored) == 2 * len(targets)
    assert min(float(row["dice"]) for row in scored.values()) > 0.3  # it learned something in three epochs
