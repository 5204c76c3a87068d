"""A user's consent is bound to content: the hashed files are the files that run, and a changed byte asks again."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from segpipe.admission import consent
from segpipe.admission.gate import MERGED, admitted, require_admitted, trust_bundle
from segpipe.errors import SegpipeError

CONFIGURATION = "bundle_root: .\nnetwork_def: {_target_: scripts.own.Own}\n"


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Keep consents in a folder of the test, and return the file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return consent.consents_file()


@pytest.fixture
def bundle(tmp_path):
    """Return a bundle whose module says which of its versions runs."""
    root = tmp_path / "bundle"
    for folder in ("configs", "scripts", "models", "docs"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "inference.yaml").write_text(CONFIGURATION)
    (root / "configs" / "metadata.json").write_text("{}")
    (root / "scripts" / "__init__.py").touch()
    _write_version(root, 1)
    return root


def _write_version(root, version):
    (root / "scripts" / "own.py").write_text(f"class Own:\n    version = {version}\n")


def _ran(root, files=(), trust=False, before=lambda: None, **overrides):
    """Return the version that runs."""
    paths = [root / "configs" / "inference.yaml", *files]
    with admitted(root, paths, overrides, trust=trust) as bundle:
        before()
        return bundle.parser.get_parsed_content("network_def").version


def _refused(root, files=()):
    with pytest.raises(SegpipeError, match="nothing was run"):
        _ran(root, files)
    return True


def test_a_trusted_bundle_runs_and_no_other(bundle):
    assert _refused(bundle)

    trust_bundle(bundle, [])

    assert _ran(bundle) == 1


def test_trust_for_one_run_keeps_nothing(bundle, kept):
    assert _ran(bundle, trust=True) == 1
    assert not kept.exists()
    assert _refused(bundle)


@pytest.mark.parametrize(
    "name", ["configs/inference.yaml", "configs/metadata.json", "scripts/own.py", "scripts/__init__.py"]
)
def test_a_changed_byte_asks_again(bundle, name):
    trust_bundle(bundle, [])

    with (bundle / name).open("a") as file:
        file.write("\n")

    assert _refused(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "scripts/new.py",
        "models/new.py",
        "docs/new.pyc",
        "runs/new/a.py",
        "scripts/a.so",
        "README.md",
    ],
)
def test_a_new_file_asks_again(bundle, name):
    trust_bundle(bundle, [])

    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).touch()

    assert _refused(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "models/model.pt",
        "docs/README.md",
        "runs/a/best.pt",
        "predictions/a.nii.gz",
        ".git/config",
        "eval/metrics.csv",
    ],
)
def test_weights_documents_and_results_ask_for_nothing(bundle, name):
    trust_bundle(bundle, [])

    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).touch()

    assert _ran(bundle) == 1


def test_a_removed_file_and_a_renamed_one_ask_again(bundle):
    (bundle / "a.txt").touch()
    trust_bundle(bundle, [])

    (bundle / "a.txt").rename(bundle / "b.txt")
    assert _refused(bundle)
    (bundle / "b.txt").unlink()
    assert _refused(bundle)


def test_a_moved_bundle_and_its_copy_are_still_trusted(bundle, tmp_path):
    trust_bundle(bundle, [])

    shutil.copytree(bundle, tmp_path / "copy")
    bundle.rename(tmp_path / "moved")

    assert _ran(tmp_path / "copy") == _ran(tmp_path / "moved") == 1


def test_a_bundle_is_the_same_under_any_path(bundle, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(bundle)
    monkeypatch.chdir(bundle)
    trust_bundle(Path(), [])

    assert _ran(Path()) == _ran(tmp_path / "link") == _ran(bundle) == 1


def test_file_permissions_are_no_content(bundle):
    trust_bundle(bundle, [])
    (bundle / "scripts" / "own.py").chmod(stat.S_IRWXU)

    assert _ran(bundle) == 1


def test_a_file_that_changes_after_it_was_hashed_does_not_run(bundle):
    trust_bundle(bundle, [])

    assert _ran(bundle, before=lambda: _write_version(bundle, 2)) == 1
    assert _refused(bundle)


def test_compiled_modules_are_not_taken_over(bundle):
    """Python would run a .pyc that claims the module's time and size."""
    trust_bundle(bundle, [])
    (bundle / "scripts" / "__pycache__").mkdir()
    (bundle / "scripts" / "__pycache__" / "own.cpython-311.pyc").write_bytes(b"evil")

    assert _ran(bundle) == 1


def test_a_module_behind_a_link_is_part_of_the_content(bundle, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("class Own:\n    version = 7\n")
    (bundle / "scripts" / "own.py").unlink()
    (bundle / "scripts" / "own.py").symlink_to(other)
    trust_bundle(bundle, [])
    assert _ran(bundle) == 7

    other.write_text("class Own:\n    version = 8\n")

    assert _refused(bundle)


@pytest.mark.parametrize("name", ["extra", "configs/extra", "models", "models/extra"])
def test_a_folder_of_modules_behind_a_link_is_refused(bundle, tmp_path, name):
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inner" / "a.py").touch()
    if (bundle / name).exists():
        (bundle / name).rmdir()
    (bundle / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SegpipeError, match="is a link to a folder"):
        trust_bundle(bundle, [])


def test_weights_may_lie_behind_a_link(bundle, tmp_path):
    (tmp_path / "weights").mkdir()
    (bundle / "models").rmdir()
    (bundle / "models").symlink_to(tmp_path / "weights")
    trust_bundle(bundle, [])

    (tmp_path / "weights" / "model.pt").touch()

    assert _ran(bundle) == 1
    (tmp_path / "weights" / "late.py").touch()
    with pytest.raises(SegpipeError, match="is a link to a folder"):
        _ran(bundle)


def test_what_is_no_regular_file_is_refused(bundle):
    os.mkfifo(bundle / "configs" / "more.yaml")

    with pytest.raises(SegpipeError, match="no regular file"):
        trust_bundle(bundle, [])


def test_a_file_that_a_macro_reaches_is_part_of_the_content(bundle, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("a: 1\n")
    (bundle / "configs" / "inference.yaml").write_text(f"{CONFIGURATION}value: '%{other}::a'\n")
    trust_bundle(bundle, [])
    assert _ran(bundle) == 1

    other.write_text("a: 2\n")

    assert _refused(bundle)


def test_a_macro_names_a_file_of_the_bundle_by_any_path(bundle, tmp_path):
    (bundle / "models" / "other.yaml").write_text("a: 1\n")
    (bundle / "configs" / "other.yaml").write_text("a: 1\n")
    (tmp_path / "link").symlink_to(bundle)
    values = [f"%{tmp_path}/link/configs/other.yaml::a", f"%{bundle}/docs/../models/other.yaml::a"]
    (bundle / "configs" / "inference.yaml").write_text(f"{CONFIGURATION}value: {json.dumps(values)}\n")
    trust_bundle(bundle, [])
    assert _ran(bundle) == 1

    (bundle / "models" / "other.yaml").write_text("a: 2\n")

    assert _refused(bundle)


def test_a_configuration_outside_needs_consent_of_its_own(bundle, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("value: 1\n")
    trust_bundle(bundle, [])
    assert _refused(bundle, [other])

    trust_bundle(bundle, [other])
    assert _ran(bundle, [other]) == 1

    other.write_text("value: 2\n")
    assert _refused(bundle, [other])


def test_consents_are_kept_side_by_side(bundle, tmp_path, kept):
    trust_bundle(bundle, [])
    shutil.copytree(bundle, tmp_path / "other")
    _write_version(tmp_path / "other", 2)
    trust_bundle(tmp_path / "other", [])
    trust_bundle(tmp_path / "other", [])

    assert (_ran(bundle), _ran(tmp_path / "other")) == (1, 2)
    assert len(json.loads(kept.read_text())["trusted"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "{}",
            '{"version": 1}',
            '{"version": 2, "trusted": []}',
            '{"version": 1, "trusted": [1]}',
        ),
        *(
            '{"version": 1, "trusted": null}',
            '{"version": 1, "trusted": [{"sha256": []}]}',
            "[" * 10_000,
            "\0",
        ),
    ],
)
def test_a_malformed_list_of_consents_is_refused(bundle, kept, text):
    kept.parent.mkdir(parents=True)
    kept.write_text(text)

    with pytest.raises(SegpipeError, match="remove the file, and trust your bundles again"):
        _ran(bundle)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_list_of_consents_that_is_no_file_is_refused(bundle, kept, make):
    kept.parent.mkdir(parents=True)
    make(kept)

    with pytest.raises(SegpipeError, match="remove the file, and trust your bundles again"):
        _ran(bundle)


def test_a_training_gets_the_copy_that_was_hashed(bundle):
    trust_bundle(bundle, [])
    files = [bundle / "configs" / "inference.yaml"]

    folder = require_admitted(bundle, files, {"bundle_root": "x"}, logging_file=None)
    _write_version(bundle, 2)

    assert "version = 1" in (folder / "bundle" / "scripts" / "own.py").read_text()
    assert "scripts.own.Own" in (folder / "bundle" / MERGED).read_text()
    consent.discard(folder)
    with pytest.raises(SegpipeError, match="nothing was run"):
        require_admitted(bundle, files, {}, logging_file=None)


def test_a_refused_training_leaves_no_copy(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    with pytest.raises(SegpipeError, match="nothing was run"):
        require_admitted(bundle, [bundle / "configs" / "inference.yaml"], {}, logging_file=None)

    assert list((tmp_path / "temporary").iterdir()) == []
