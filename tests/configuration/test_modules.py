"""A bundle's modules are parsed and never run; the configuration is checked against their definitions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_bundle import write_bundle

from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.modules import (
    NOT_EXAMINED,
    InstalledModule,
    Modules,
    NotImportable,
    is_module,
    names_of,
    signature_of,
)
from segpipe.configuration.parsed import ParsedClass, ParsedFunction, ParsedModule

RUNS = "open(__file__ + '.RAN', 'w').close()\n"
OWN = (
    RUNS
    + """
import functools
import math as m
from pathlib import Path as Place

import torch
from torch import nn

from own_other import Elsewhere

try:
    import not_installed
except ImportError:
    not_installed = None
if m.pi > 3:
    SIZE = 3

def shaped(size, /, *axes, mode="x", **others): ...

@functools.cache
def decorated(size): ...

class Plain:
    def method(self): self.held = 1

class Net(nn.Module):
    def __init__(self, widths, dropout=0.2):
        super().__init__()
        self.widths = widths

class Deeper(Net): ...

class Weird(make()): ...

class Loop(Loop): ...
"""
)


@pytest.fixture
def modules(tmp_path):
    for name, text in {
        "own.py": OWN,
        "own_other.py": RUNS + "import own\nclass Elsewhere:\n    def __init__(self, only): ...\n",
        "scripts/__init__.py": RUNS + "from .inner import Inner\n",
        "scripts/inner.py": RUNS + "from . import sibling\nfrom ..nothing import x\n",
        "broken.py": "def (",
        "quitter.py": "raise SystemExit(0)\n",
        "lacking.py": "import nowhere_to_be_found\n",
        "starred.py": "from torch import *\n",
        "folder/leaf.py": RUNS + "class Leaf: ...\n",
        "deep.py": "x = " + "(" * 5000 + ")" * 5000,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    yield Modules(tmp_path)
    assert list(tmp_path.rglob("*.RAN")) == []
    assert not {"own", "own_other", "scripts", "broken", "quitter", "folder"} & set(sys.modules)


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("own.shaped", "(size, /, *axes, mode=None, **others)"),
        ("own.Net", "(widths, dropout=None)"),
        ("own.Deeper", "(widths, dropout=None)"),
        ("own.Plain", "()"),
        ("own.Elsewhere", "(only)"),
    ],
)
def test_arguments_are_those_of_the_text(path, arguments, modules):
    assert str(signature_of(modules.find(path))) == arguments


@pytest.mark.parametrize("path", ["own.decorated", "own.Weird", "own.Loop", "own.SIZE", "starred.anything"])
def test_an_unknown_signature_is_an_error(path, modules):
    with pytest.raises(ValueError, match=r"."):
        signature_of(modules.find(path))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("own", ParsedModule),
        ("own.Net", ParsedClass),
        ("own.shaped", ParsedFunction),
        ("own.nn", type(sys)),
        ("own.nn.Module", type),
        ("own.Place", type),
        ("folder.leaf.Leaf", ParsedClass),
        ("torch.optim.AdamW", type),
        ("len", type(len)),
        ("yaml", InstalledModule),
        ("yaml.reader", InstalledModule),
        ("xml.dom.minidom", InstalledModule),
    ],
)
def test_names_are_found(path, kind, modules):
    assert isinstance(modules.find(path), kind)


@pytest.mark.parametrize("path", ["own.Nett", "nowhere", "nowhere.at.all", "torch.nothing", "own.", "a b"])
def test_an_unknown_path_is_none(path, modules):
    assert modules.find(path) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("quitter", "line 1 ends it: raise SystemExit"),
        ("broken.Net", "SyntaxError"),
        ("lacking.Net", "No module named 'nowhere_to_be_found'"),
        ("deep", "SyntaxError|MemoryError|RecursionError"),
    ],
)
def test_a_module_that_cannot_be_imported_has_its_reason(path, reason, modules):
    module = modules.find(path)

    assert isinstance(module, NotImportable)
    assert re.search(reason, module.reason)


def test_programs_of_installed_packages_are_not_run(modules):
    assert modules.find("numpy.f2py.__main__") is NOT_EXAMINED
    assert modules.find("antigravity") is not None
    assert "antigravity" not in sys.modules


def test_names_are_listed_for_suggestions(modules):
    assert {"Net", "Plain", "shaped", "SIZE"} <= set(names_of(modules.find("own")))
    assert is_module(modules.find("own"))


# --- of a whole bundle


@pytest.fixture
def findings_of_bundle(tmp_path):
    """Return a function that writes modules into a bundle and lists the findings in its inference.yaml."""
    root = write_bundle(tmp_path / "bundle")

    def check(modules=None, **changes):
        for name, text in (modules or {}).items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        path = root / "configs" / "inference.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, sort_keys=False))
        return [str(finding) for finding in check_bundle(root, [path], {}, look_for_files=False)]

    yield check
    assert list(root.rglob("*.RAN")) == []


@pytest.mark.parametrize(
    "name", ["own.py", "torch.py", "monai/__init__.py", "segpipe/__init__.py", "typing.py"]
)
def test_no_module_of_a_bundle_is_run(name, findings_of_bundle):
    findings = findings_of_bundle(
        {name: RUNS}, imports=["$import torch", f"$import {name.partition('/')[0].removesuffix('.py')}"]
    )

    assert all("is named like" in line for line in findings)
    assert bool(findings) == (name != "own.py")


def test_a_module_that_exits_hides_no_mistake(findings_of_bundle):
    findings = findings_of_bundle(
        {"quitter.py": "raise SystemExit(0)\n"}, imports=["$import torch", "$import quitter"], zzz=1
    )

    assert any("zzz is used by nothing" in line for line in findings)
    assert any(
        "imports quitter, which cannot be imported: its own line 1 ends it" in line for line in findings
    )


def test_arguments_of_a_bundles_own_class(findings_of_bundle):
    module = {"own_net.py": RUNS + "class Net:\n    def __init__(self, widths): self.shape = widths\n"}

    on_arguments = findings_of_bundle(module, network_def={"_target_": "own_net.Net", "widhts": 3})
    on_attributes = findings_of_bundle(
        module, network_def={"_target_": "own_net.Net", "widths": 3}, overlap="$@network_def.shap"
    )

    expected = "network_def#widhts is no argument of own_net.Net; did you mean widths?"
    assert any(line.endswith(expected) for line in on_arguments)
    expected = "overlap reads shap of @network_def, a Net, which has no such attribute; did you mean shape?"
    assert any(line.endswith(expected) for line in on_attributes)


def test_the_working_directory_is_not_looked_into(findings_of_bundle, tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(RUNS + "class Net: ...\n")
    monkeypatch.chdir(tmp_path)

    findings = findings_of_bundle(network_def={"_target_": "beside.Net"})

    assert any("there is no module beside" in line for line in findings)
    assert not Path("beside.py.RAN").exists()


@pytest.mark.slow
def test_the_command_ends_with_what_is_wrong_where_a_module_exits(tmp_path):
    root = write_bundle(tmp_path / "bundle", zzz=1, imports=["$import torch", "$import quitter"])
    (root / "quitter.py").write_text("raise SystemExit(0)\n")

    command = [Path(sys.executable).with_name("segpipe"), "check", root, "--config", "inference.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 2
    assert "zzz is used by nothing" in done.stdout
