"""A short training of every bundle on phantoms, shared by the tests of its outputs."""

import json
import shutil
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow
from shipped_bundles import bundles_of

from segpipe.phantoms.files import MRI, PhantomKind, ct, write_phantom_dataset, write_phantom_scans
from segpipe.planning import PlanOptions, plan_bundle

BUNDLES = bundles_of("segmentation")
FOR_ALL = "mri_hippocampus_unet"  # stands for every bundle where their common code is tested
KINDS = {"MR": MRI, "CT": ct(size=96, slices=3)}  # by the modality that metadata gives the input
SEEDS = {"MR": 0, "CT": 4}  # every class occurs in every three of the four folds
SMALL = {  # the CT bundles learn something in two epochs: many steps, and much weight on the rare classes
    "MR": {},
    "CT": {
        "slice_size": [96, 96],
        "patch_size": [96, 96],
        "window_size": [96, 96],
        "batch_size": 1,
        "weight_power": 1.0,
    },
}
PLANNED = {  # bundles of `segpipe plan`, from the phantoms, held to the contract of those that are shipped
    "planned_volumes": PlanOptions(),
    "planned_slices": PlanOptions(dims=2),
}
OF_PLANNED = {  # beside the contract
    "test_label_maps_are_those_of_monais_run",
    "test_streamed_and_by_monais_chain_are_the_same",
}
SMALL_NETWORKS = {"filters": [8, 16, 32, 64], "widths": [8, 16], "stages": [[8], [8]]}


def pytest_collection_modifyitems(config, items):
    """Keep a test's bundles: all bundles or those of a modality if the test is marked so, else one bundle."""
    superfluous = [
        item
        for item in items
        if "bundle" in getattr(getattr(item, "callspec", None), "params", {})
        and not _is_of(item, item.callspec.params["bundle"])
    ]
    if superfluous:
        config.hook.pytest_deselected(items=superfluous)
        items[:] = [item for item in items if item not in superfluous]


def _is_of(item, root):
    marker = item.get_closest_marker("every_bundle")
    if isinstance(root, str):
        of_all = marker is not None and not marker.args
        return of_all and (item.path.name == "test_contract.py" or item.originalname in OF_PLANNED)
    if marker is None:
        return root.name == FOR_ALL
    return not marker.args or Bundle(root, Path(), Path()).modality in marker.args


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, with overrides for its phantoms."""

    root: Path
    manifest: Path
    output_dir: Path

    @cached_property
    def metadata(self) -> dict[str, Any]:
        return json.loads((self.root / "configs" / "metadata.json").read_text())

    @property
    def modality(self) -> str:
        return self.metadata["network_data_format"]["inputs"]["image"]["modality"]

    @property
    def kind(self) -> PhantomKind:
        """The kind of phantom that the bundle needs."""
        return KINDS[self.modality]

    @property
    def spatial_dims(self) -> int:
        return len(self.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])

    @property
    def small_network(self) -> dict[str, Any]:
        """Overrides that make the bundle's network small, by the network's id."""
        return {name: value for name, value in SMALL_NETWORKS.items() if name in self.parser("train")}

    @property
    def window(self) -> dict[str, Any]:
        """The override of inference for the phantoms' window."""
        return {
            name: SMALL[self.modality][name] for name in ("window_size", "slice_size") if SMALL[self.modality]
        }

    def files(self, *names: str) -> list[str]:
        return [str(self.root / "configs" / f"{name}.yaml") for name in names]

    @property
    def training(self) -> dict[str, Any]:
        return {
            "bundle_root": str(self.root),
            "manifest": str(self.manifest),
            "dataset_dir": str(self.manifest.parent),
            "output_dir": str(self.output_dir),
            "device": "cpu",
            "reference_ranges": False,  # they cost a process of their own
            **SMALL[self.modality],
        }

    def run(self, *names: str, **overrides: Any) -> None:
        """Do the same as `python -m monai.bundle run` with these files and overrides."""
        monai.bundle.run(config_file=self.files(*names), **overrides)

    def train(self, run_name: str, **overrides: Any) -> Path:
        settings = {**self.training, "run_name": run_name, "epochs": 2, "val_interval": 1, **overrides}
        self.run("train", **settings)
        return Path(settings["output_dir"]) / run_name

    def workflow(self, names: list[str], kind: str, **overrides: Any) -> ConfigWorkflow:
        workflow = ConfigWorkflow(
            config_file=self.files(*names), workflow_type=kind, logging_file=None, **overrides
        )
        workflow.initialize()
        return workflow

    def parser(self, *names: str, **overrides: Any) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config(self.files(*names))
        parser.read_meta(str(self.root / "configs" / "metadata.json"))
        parser.update(overrides)
        return parser


@pytest.fixture(
    scope="session",
    params=[*BUNDLES, *(pytest.param(name, marks=pytest.mark.slow) for name in PLANNED)],
    ids=lambda bundle: bundle if isinstance(bundle, str) else bundle.name,
)
def bundle(request, prepared_bundle):
    """Return each bundle in turn, with phantoms of its modality."""
    return prepared_bundle(request.param)


@pytest.fixture(scope="session")
def prepared_bundle(phantom_dataset, tmp_path_factory):
    """Return a function that returns a bundle, the same one for each module of tests."""

    @cache
    def prepare(name: str | Path) -> Bundle:
        if name in PLANNED:
            manifest, folder = phantom_dataset("MR"), tmp_path_factory.mktemp("planned")
            planned = plan_bundle(manifest, manifest.parent, folder / name, PLANNED[name])
            return Bundle(planned.root, manifest, folder / "runs")
        described = Bundle(name, Path(), Path())
        return Bundle(name, phantom_dataset(described.modality), tmp_path_factory.mktemp("runs"))

    return prepare


@pytest.fixture(scope="session")
def phantom_dataset(tmp_path_factory):
    """Return a function that returns the manifest of eight phantoms in four folds; the files lie beside it."""
    made = {}

    def manifest(modality):
        if modality not in made:
            folder = tmp_path_factory.mktemp("data") / "phantoms"
            made[modality] = write_phantom_dataset(
                folder, num_cases=8, seed=SEEDS[modality], kind=KINDS[modality]
            )
        return made[modality]

    return manifest


@pytest.fixture(scope="session")
def phantom_scans(bundle, tmp_path_factory):
    """Return a folder of new phantom scans, one for each format, and the folder of their label maps."""
    folder = tmp_path_factory.mktemp("scans")
    write_phantom_scans(folder / "scans", folder / "references", seed=0, kind=bundle.kind)
    return folder / "scans", folder / "references"


@cache
def _models(root: Path) -> dict[Path, bytes]:
    """Return the content of `models/` at the first call."""
    return {path: path.read_bytes() for path in (root / "models").rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def models_before(bundle):
    """Return the content of `models/` before the first run."""
    return _models(bundle.root)


@pytest.fixture(scope="session")
def finished_run(bundle, models_before):
    """Return the folder of a two-epoch training, the same one for each module of tests."""
    folder = bundle.output_dir / "finished"
    return folder if folder.is_dir() else bundle.train("finished")


@pytest.fixture
def copied_dataset(bundle, tmp_path):
    """Return a bundle whose phantoms may be broken."""
    shutil.copytree(bundle.manifest.parent, tmp_path / "data")
    return Bundle(bundle.root, tmp_path / "data" / bundle.manifest.name, tmp_path / "runs")
