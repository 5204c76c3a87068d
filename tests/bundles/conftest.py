"""A short training of every bundle on phantoms, shared by the tests that look at what it left."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

BUNDLES = sorted(path for path in (Path(__file__).parents[2] / "bundles").iterdir() if path.is_dir())


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, with the overrides that point it at phantoms."""

    root: Path
    manifest: Path
    output_dir: Path

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
        }

    def run(self, *names: str, **overrides: Any) -> None:
        """Do what `python -m monai.bundle run` does with these files and overrides."""
        monai.bundle.run(config_file=self.files(*names), **overrides)

    def train(self, run_name: str, **overrides: Any) -> Path:
        defaults = {**self.training, "run_name": run_name, "epochs": 2, "val_interval": 1}
        self.run("train", **{**defaults, **overrides})
        return self.output_dir / run_name

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


@pytest.fixture(scope="session", params=BUNDLES, ids=lambda path: path.name)
def bundle(request, phantom_dataset, tmp_path_factory):
    """Return each bundle in turn, on phantoms."""
    return Bundle(request.param, phantom_dataset, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def models_before(bundle):
    """Return the content of `models/` before anything ran."""
    return {path: path.read_bytes() for path in (bundle.root / "models").rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def finished_run(bundle, models_before):
    """Return the folder of a two-epoch training."""
    return bundle.train("finished")


@pytest.fixture
def copied_dataset(bundle, tmp_path):
    """Return a bundle whose phantoms may be broken."""
    shutil.copytree(bundle.manifest.parent, tmp_path / "data")
    return Bundle(bundle.root, tmp_path / "data" / bundle.manifest.name, tmp_path / "runs")
