"""Every imported package is declared, and segpipe imports on systems without Unix modules."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_EVERYWHERE = ("fcntl", "resource", "grp", "pwd", "termios")  # of Unix alone


def distribution_name(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extra=None):
    """Return the packages that an installation brings; with an extra, those of the extra alone."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return {distribution_name(re.match(r"[\w.-]+", line)[0]) for line in lines}


def imported():
    """Return top-level package -> the files that import it."""
    packages = {}
    for path in sorted((ROOT / "segpipe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                packages.setdefault(name.partition(".")[0], set()).add(path.relative_to(ROOT).as_posix())
    return {
        name: files
        for name, files in packages.items()
        if name != "segpipe" and name not in sys.stdlib_module_names
    }


def of_extra(files):
    """Return the packages that the extra of each file's room brings; those of segpipe if a room has no extra."""
    rooms = {
        "segpipe/inference/engines/quantising.py": "int8",
        "segpipe/search/": "search",
        "segpipe/training/mlflow_run.py": "mlflow",
        "segpipe/serving/": "serve",
        "segpipe/prediction/ray_pool.py": "ray",
        "segpipe/export/": "export",
        "segpipe/inference/engines/": "onnx",
    }
    of_files = {
        next((extra for room, extra in rooms.items() if file.startswith(room)), None) for file in files
    }
    return set.intersection(*map(declared, of_files))


def test_every_imported_package_is_declared():
    owners = metadata.packages_distributions()  # a package of an extra that is not installed has its own name

    undeclared = {
        name: sorted(files)[0]
        for name, files in imported().items()
        if not {distribution_name(owner) for owner in owners.get(name, (name,))}
        & (declared() | of_extra(files))
    }

    assert undeclared == {}


def test_every_declared_package_is_used():
    """Only MONAI's command line uses `fire`."""
    owners = metadata.packages_distributions()
    used = {distribution_name(owner) for name in imported() for owner in owners.get(name, ())} | {"fire"}

    assert (declared() | declared("serve")) - used == set()


@pytest.mark.slow
def test_it_imports_where_a_system_lacks_modules_of_unix():
    """A check of `OS Independent` by import: each Unix module is made unavailable."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "segpipe").rglob("*.py"))
        if path.name not in ("__main__.py", "train_copy.py")
    ]
    code = (
        "import importlib, sys\n"
        f"import torch, monai.bundle, ignite, nibabel, SimpleITK, pydicom, filelock, psutil, tensorboard, rich, typer\n"
        f"for name in {NOT_EVERYWHERE!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print('imported')\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout.endswith("imported\n"), done.stderr[-2000:]
