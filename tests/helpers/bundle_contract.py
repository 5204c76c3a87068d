"""Parts of the bundle contract that hold whatever the bundle's task."""

import importlib
import inspect
import json
import pydoc
from pathlib import Path

import monai
from jsonschema import Draft201909Validator

import segpipe.bundle_check

SCHEMA = Path(segpipe.bundle_check.__file__).with_name("meta_schema_20240725.json")
CONFIGS = ("metadata.json", "train.yaml", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml")
FILES = (
    "LICENSE",
    *(f"configs/{config}" for config in (*CONFIGS, "logging.conf")),
    *("docs/README.md", "docs/data_license.txt"),
)


def assert_files(root, *further):
    for name in (*FILES, *further):
        assert (root / name).is_file(), name


def assert_valid_metadata(metadata):
    Draft201909Validator(json.loads(SCHEMA.read_text())).validate(metadata)

    assert metadata["version"] in metadata["changelog"]
    assert metadata["monai_version"] == monai.__version__
    assert "segpipe" in metadata["required_packages_version"]


def assert_components_bind(config):
    """Every component is importable, and takes the arguments of the configuration."""
    found = list(components(config))
    for component in found:
        target = pydoc.locate(component["_target_"])
        assert callable(target), component["_target_"]
        inspect.signature(target).bind(**{key: None for key in component if not key.startswith("_")})
    assert len(found) > 5


def components(config):
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        for value in config.values():
            yield from components(value)
    elif isinstance(config, list):
        for value in config:
            yield from components(value)


def shared_values(train, infer, where):
    """Return the names of what training and inference must have alike, without those in `where`."""
    simple = (int, float, list, str, type(None))
    shared = ["network_def", "deterministic_transforms", "labels", "identity"]
    shared += [name for name in train.get() if name in infer and isinstance(train[name], simple)]
    return [name for name in shared if name not in where]


def assert_no_logic(root):
    for path in (root / "configs").glob("*.yaml"):
        for line in path.read_text().splitlines():
            expression = line.partition("$")[2]
            for word in (" for ", "lambda", "glob"):
                assert word not in expression, f"{path.name}: {line}"


def assert_packages_importable(metadata):
    names = {"pytorch-ignite": "ignite"}
    for name in metadata["required_packages_version"]:
        importlib.import_module(names.get(name, name))
