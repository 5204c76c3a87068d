"""An ensemble takes the place of a bundle's weights, and of all files that belong to these."""

import pytest
import yaml
from tiny_bundle import write_bundle, write_weights

from segpipe.bundle.promote_ensemble import promote_ensemble
from segpipe.errors import SegpipeError


@pytest.fixture
def made(tmp_path):
    """Return a bundle with weights, and the weights of two runs."""
    root = write_bundle(tmp_path / "bundle")
    return root, [write_weights(root, tmp_path / f"run_{seed}" / "best.pt", seed) for seed in (1, 2)]


def test_calibrations_of_the_former_weights_go_with_them(made):
    root, runs = made
    for name in ("model", "model_2"):
        for suffix in (".confidence.json", ".reference_ranges.json", "_calibration.json", ".int8.xml"):
            (root / "models" / f"{name}{suffix}").touch()

    written = promote_ensemble(runs, root, replace=True)

    assert [path.name for path in written] == ["model.pt", "model_2.pt"]
    assert sorted(path.name for path in (root / "models").iterdir()) == [
        "model.json",
        "model.pt",
        "model_2.json",
        "model_2.pt",
    ]
    named = yaml.safe_load((root / "configs" / "inference.yaml").read_text())["weights"]
    assert named == [f"$@bundle_root + '/models/{path.name}'" for path in written]


def test_the_bundles_own_weights_are_refused(made):
    """The first new file would replace them before they are copied."""
    root, runs = made
    before = (root / "models" / "model.pt").read_bytes()

    with pytest.raises(
        SegpipeError, match=r"model\.pt: lies in the bundle's models/, .* give the weights of runs"
    ):
        promote_ensemble([runs[0], root / "models" / "model.pt"], root, replace=True)

    assert (root / "models" / "model.pt").read_bytes() == before
