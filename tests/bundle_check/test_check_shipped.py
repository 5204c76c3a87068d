"""Shipped bundles have no finding, in any stack of configuration files that a user runs."""

from pathlib import Path

import pytest

from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.reading import configuration_files

BUNDLES = Path(__file__).parents[2] / "bundles"

MANIFESTS = {
    "mri_hippocampus_unet": "hippocampus",
    "ct_covid_unet": "covid_ct_512",
    "ct_covid_segnet": "covid_ct_512",
    "ct_covid_tile_cnn": "tiles",
    "oct_retina_efficientnet": "oct2017",
    "cxr_findings_efficientnet": "nih_cxr64",
}


def _is_whole(path):
    """Return whether a file stands in place of another; others are given after it."""
    return path.read_text().find("\nbundle_root:") >= 0


def _stacks():
    """Yield every shipped bundle with every stack of its files that a user runs."""
    for root in sorted(path for path in BUNDLES.iterdir() if path.is_dir()):
        files = {path.stem: path for path in sorted((root / "configs").glob("*.yaml"))}
        whole = [
            name for name, path in files.items() if _is_whole(path) and name not in ("train", "inference")
        ]
        for name in whole:
            more = [()] if name.endswith("_inference") else [(), ("evaluate",), ("multi_gpu_train",)]
            yield from ((root.name, (name, *role)) for role in more)
        names = [name for name in files if name not in whole]
        over_inference = [name for name in names if name.endswith("_inference")]
        roles = {"train", "inference", "evaluate", "multi_gpu_train"}
        variants = [name for name in names if name not in {*roles, *over_inference}]
        yield from ((root.name, ("inference", *more)) for more in [(), *((name,) for name in over_inference)])
        for variant in [(), *((name,) for name in variants)]:
            for role in [(), ("evaluate",), ("multi_gpu_train",)]:
                yield root.name, ("train", *variant, *role)


@pytest.mark.parametrize(
    ("name", "stack"), list(_stacks()), ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
def test_shipped_bundles_have_no_finding(name, stack, empty_datasets, tmp_path):
    root = BUNDLES / name
    manifest = "covid_ct_256" if "paper" in stack else MANIFESTS[name]
    overrides = {"dataset_dir": str(empty_datasets / manifest), "output_dir": str(tmp_path / "runs")}
    if (
        name == "ct_covid_tile_cnn" and "train" in stack
    ):  # its manifest is made by a command; any of two classes will do
        overrides["manifest"] = str(empty_datasets / "tiles.json")
    if "evaluate" in stack:
        overrides["weights"] = [str(root / "models" / "model.pt")]

    findings = check_bundle(root, configuration_files(root, [f"{part}.yaml" for part in stack]), overrides)

    assert findings == []
