"""The gate admits a bundle without a question or asks for consent; each file that it judges has a test."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from segpipe.admission.gate import admitted, audit, require_admitted
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.errors import SegpipeError

BUNDLES = Path(__file__).parents[2] / "bundles"
VARIANTS = ("article", "paper", "binary", "vgg16")
COMBINATIONS = sorted(
    (path.parents[1].name, tuple(files))
    for path in BUNDLES.glob("*/configs/*.yaml")
    for files in (
        [path.name],
        ["train.yaml", path.name],
        ["train.yaml", path.name, "evaluate.yaml"],
        ["train.yaml", path.name, "multi_gpu_train.yaml"],
        ["inference.yaml", path.name],
    )
    if (len(files) > 1)
    == (path.stem.removesuffix("_inference") in (*VARIANTS, "evaluate", "multi_gpu_train"))
    and files.count(path.name) == 1
    and ("inference" in files[0]) == ("inference" in path.stem)
)
OVERRIDES = [
    {"output_dir": "/data/out"},
    {"output_dir": "out", "run_name": "a", "resume": True},
    {"weights": ["/data/best.pt", "~/last.pt"]},
    {"dataset_dir": "/data/scans", "manifest": "/data/manifest.json"},
    {"dataset_dir": "scans", "device": "cpu"},
]


def _audit_of_shipped(bundle, files, overrides):
    configs = BUNDLES / bundle / "configs"
    paths = [configs / name for name in files]
    return audit(configs.parent, paths, overrides, logging_file=configs / "logging.conf")


@pytest.mark.parametrize(("bundle", "files"), COMBINATIONS)
def test_shipped_bundles_need_no_consent(bundle, files):
    assert _audit_of_shipped(bundle, files, {}) == []


@pytest.mark.parametrize("overrides", OVERRIDES, ids=",".join)
@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
def test_shipped_bundles_pass_with_what_users_set(file, overrides):
    name = "mri_hippocampus_unet"
    content = yaml.safe_load((BUNDLES / name / "configs" / file).read_text())
    overridden = {identifier: value for identifier, value in overrides.items() if identifier in content}

    assert _audit_of_shipped(name, [file], overridden) == []


@pytest.fixture
def bundle(tmp_path):
    """Return a function that writes a bundle with changes of its inference.yaml and metadata, and other files."""

    def write(metadata=None, files=None, **changes):
        root = tmp_path / "bundle"
        shutil.copytree(BUNDLES / "mri_hippocampus_unet" / "configs", root / "configs")
        path = root / "configs" / "inference.yaml"
        content = {**yaml.safe_load(path.read_text()), **changes}
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        path = root / "configs" / "metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **(metadata or {})}))
        for name, text in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return write


def _findings(root, *files, **overrides):
    paths = [root / "configs" / name for name in files or ("inference.yaml",)]
    return [
        str(finding)
        for finding in audit(root, paths, overrides, logging_file=root / "configs" / "logging.conf")
    ]


def test_a_bundle_that_passes_runs_from_its_own_folder(bundle):
    root = bundle()

    assert _findings(root) == []
    with admitted(root, [root / "configs" / "inference.yaml"]) as admission:
        assert admission.modules is None


@pytest.mark.parametrize(
    "name",
    [
        *("sitecustomize.py", "yaml.py", "json.pyc", "cucim.py", "cucim/core/a.py", "scripts/__init__.py"),
        *(
            "models/a.py",
            "docs/a.py",
            "runs/a.pyc",
            "setup.py",
            "conftest.py",
            "a.so",
            "__pycache__/a.cpython-311.pyc",
        ),
        *("a.cpython-311-x86_64-linux-gnu.so", "a-1.dist-info/entry_points.txt", "a.egg-info"),
    ],
)
def test_files_that_python_would_import_are_found(bundle, name):
    assert len(_findings(bundle(files={name: ""}))) == 1


def test_a_folder_of_modules_behind_a_link_is_found(bundle, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.py").touch()
    root = bundle()
    (root / "cucim").symlink_to(tmp_path / "elsewhere")

    assert len(_findings(root)) == 1


def test_the_folder_of_the_first_configuration_is_on_monais_path_too(bundle):
    root = bundle(files={"more-configs/train.yaml": "a: 1\n", "more-configs/cucim.py": ""})

    assert _findings(root) == []
    assert len(_findings(root, "../more-configs/train.yaml")) == 1


def test_the_metadata_beside_the_first_configuration_are_those_of_monais_run(bundle):
    evil = json.dumps({"a": {"_target_": "os.system", "command": "true"}})
    root = bundle(files={"fold1/train.yaml": "run: ['@_meta_::a']\n", "fold1/metadata.json": evil})

    assert any("os.system" in what for what in _findings(root, "../fold1/train.yaml"))


def test_metadata_hold_no_components(bundle):
    root = bundle(metadata={"a": {"_target_": "os.system", "command": "true"}}, value="@_meta_::a")

    assert any("_meta_#a calls 'os.system'" in what for what in _findings(root))


@pytest.mark.parametrize(
    "changes",
    [
        {"a": {"b": "%c::d", "e": "$import monai.bundle"}, "c": {"d": "$@::e.run()", "e": "text"}},
        {"a": {"b": "%c"}, "c": {"_target_": "os.system", "command": "true"}},
        {"a": "$import monai.bundle", "b": "%a", "c": "$@b.run()"},
        {"a": {"b": "$@##c.run()"}, "c": "$import monai.bundle"},
        {"a": "%b", "b": {"c": "%d"}, "d": "$print(1)"},
    ],
)
def test_macros_and_relative_ids_are_judged_as_often_as_monai_resolves_them(bundle, changes):
    assert _findings(bundle(**changes))


@pytest.mark.parametrize("changes", [{"a": ["%a"]}, {"a": "%"}])
def test_macros_without_end_are_refused(bundle, changes):
    with pytest.raises(SegpipeError, match="without end"):
        _findings(bundle(**changes))


def test_what_a_macro_copies_from_a_file_is_judged(bundle, tmp_path):
    (tmp_path / "other.yaml").write_text("a: {_target_: os.system, command: 'true'}\nb: $print(1)\n")

    assert any("os.system" in what for what in _findings(bundle(value=f"%{tmp_path}/other.yaml::a")))


def test_an_override_that_copies_from_a_file_is_judged_and_a_value_is_the_users(bundle, tmp_path):
    (tmp_path / "other.yaml").write_text("b: $print(1)\n")
    root = bundle(value=1)

    assert _findings(root, value="$print(1)") == []
    assert _findings(root, value=f"%{tmp_path}/other.yaml::b")


@pytest.mark.parametrize("macro", ["%#other.json", "%##other.json::a", "%a::other.yaml"])
def test_a_macros_path_holds_no_ids(bundle, macro):
    """MONAI reads `%#other.json` as the file `a::other.json` or `other.json`, which the audit did not judge."""
    with pytest.raises(SegpipeError, match="holds no #"):
        _findings(bundle(a={"b": macro}))


@pytest.mark.parametrize("levels", [1, 3])
def test_an_id_named_like_a_file_makes_no_macro_read_it(bundle, tmp_path, levels):
    """MONAI makes `%#b` below such an id the file's macro, and would wait for ever for this pipe."""
    os.mkfifo(tmp_path / "pipe.yaml")
    changes = {str(tmp_path / "pipe.yaml"): {"a": "%#b"}}
    for _ in range(levels - 1):
        changes = {"c": changes}

    with pytest.raises(SegpipeError, match="named like a file"):
        _findings(bundle(**changes))


@pytest.mark.parametrize("macro", ["%" + ":" * 200_000, "%" + ".json" * 40_000])
def test_a_long_macro_is_refused_at_once(bundle, macro):
    """MONAI's look for a path in it takes hours."""
    with pytest.raises(SegpipeError, match="characters"):
        _findings(bundle(value=macro))


IMPOSSIBLE = pytest.mark.parametrize(
    "name", ["a\0b", "a\ud800b", "a" * 5000], ids=["null", "surrogate", "long"]
)


@IMPOSSIBLE
def test_a_macro_whose_path_no_file_can_have_gives_one_message(bundle, name):
    root = bundle()
    path = root / "configs" / "inference.yaml"
    path.write_text(path.read_text() + yaml.safe_dump({"value": f"%{name}.yaml::a"}))

    with pytest.raises(SegpipeError, match="cannot be read"):
        _findings(root)
    assert check_bundle(root, [path], {})


@IMPOSSIBLE
def test_a_folder_whose_path_no_file_can_have_is_found(bundle, name):
    root = bundle()
    path = root / "configs" / "inference.yaml"
    saver = {"_target_": "SaveImaged", "keys": "pred", "output_dir": name}
    path.write_text(path.read_text() + yaml.safe_dump({"saver": saver}))

    assert any("output_dir" in what for what in _findings(root))


GROWING = {
    "each other": {"a": ["%b"] * 100, "b": ["%a"] * 100},
    "itself": {"a": ["%a"] * 150},
    "relative ids": {"a": [1] * 100, "b": ["%##a"] * 100, "c": ["%##b"] * 100, "d": ["%##c"] * 100},
    "one long list": {"a": [1] * 15_000, "b": ["%a"] * 4000},
    "one long text": {"a": "x" * 100_000, "b": ["%a"] * 4000},
    "levels": {"n0": 1, **{f"n{n}": {"x": {"y": f"%n{n - 1}"}} for n in range(1, 200)}},
    "many levels": {"n0": 1, **{f"n{n}": {"x": f"%n{n - 1}"} for n in range(1, 1500)}},
}


@pytest.mark.parametrize("kind", GROWING)
def test_macros_take_no_unlimited_memory(bundle, kind):
    with pytest.raises(
        SegpipeError, match=r"without end|copies more than|copy each other too often|has [0-9]+ values"
    ):
        _findings(bundle(**GROWING[kind]))


def test_macros_that_copy_a_file_again_and_again_take_no_unlimited_memory(bundle):
    root = bundle(files={"configs/long.yaml": f"a: {[1] * 15_000}\n"})
    path = root / "configs" / "inference.yaml"
    path.write_text(path.read_text() + f"m: &m '%{root}/configs/long.yaml::a'\nx: [{'*m, ' * 1000}]\n")

    with pytest.raises(SegpipeError, match="copies more than"):
        _findings(root)
    with pytest.raises(SegpipeError, match="copy more than"):
        check_bundle(root, [path], {})


def test_a_macro_that_copies_from_outside_the_bundle_is_found(bundle, tmp_path):
    for folder in (tmp_path, tmp_path / "user"):
        folder.mkdir(exist_ok=True)
        (folder / "other.yaml").write_text("a: 1\n")
    root = bundle(files={"configs/inner.yaml": "a: 1\n"}, value=1)
    (root / "link.yaml").symlink_to(tmp_path / "other.yaml")

    for path, number in {"configs/inner.yaml": 0, "../other.yaml": 1, "link.yaml": 1}.items():
        (root / "configs" / "more.yaml").write_text(f"value: '%{root}/{path}::a'\n")
        assert len(_findings(root, "inference.yaml", "more.yaml")) == number
    assert _findings(root, value=f"%{tmp_path}/other.yaml::a") == []
    (tmp_path / "user" / "own.yaml").write_text(f"value: '%{tmp_path}/user/other.yaml::a'\n")
    assert _findings(root, "inference.yaml", tmp_path / "user" / "own.yaml") == []


def test_a_folder_of_scans_that_the_user_gives_is_not_written_into(bundle):
    """Output files with the names of the scans would replace the scans."""
    saver = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@dataset_dir", "output_postfix": ""}
    root = bundle(saver=saver)

    assert any("outside the bundle's folder" in what for what in _findings(root, dataset_dir="/data/scans"))


def test_an_output_folder_that_the_user_gives_is_written_into(bundle, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)

    assert _findings(bundle(), output_dir=str(tmp_path / "out")) == []


@pytest.mark.parametrize(
    "lines",
    [
        "class=__import__('os') and logging.StreamHandler\nargs=(sys.stdout,)",
        "class=evil.StreamHandler\nargs=(sys.stdout,)",
        "class=StreamHandler\nargs=(print(1),)",
        "class=StreamHandler\nlevel=INFO\rargs=(print(1),)",
        "class=FileHandler\nargs=('/tmp/a.log',)",
    ],
)
def test_logging_is_judged(bundle, lines):
    conf = (BUNDLES / "mri_hippocampus_unet" / "configs" / "logging.conf").read_text()
    whole = conf.replace("class=StreamHandler", lines).replace(
        "args=(sys.stdout,)\n\n[formatter", "\n[formatter"
    )

    assert _findings(bundle(files={"configs/logging.conf": whole}))


@pytest.mark.parametrize("output_dir", ["/", "$@bundle_root + '/' + '.' + '.'"])
def test_a_bundle_may_not_append_logs_outside_the_output_folder(bundle, tmp_path, output_dir):
    conf = (BUNDLES / "mri_hippocampus_unet" / "configs" / "logging.conf").read_text()
    conf = conf.replace("class=StreamHandler", "class=FileHandler").replace(
        "sys.stdout", repr(f"{tmp_path}/own/a.log")
    )
    root = bundle(files={"configs/logging.conf": conf, "configs/train.yaml": f"output_dir: {output_dir}\n"})

    assert _findings(root, "train.yaml")
    assert _findings(root, "train.yaml", output_dir=f"{tmp_path}/own") == []


def test_a_nested_override_is_the_users_too(bundle):
    saver = {"_target_": "MetricsSaver", "save_dir": "@output_dir"}

    assert _findings(bundle(saver=saver), **{"saver#save_dir": "/data/out"}) == []


def test_a_bundle_that_does_not_pass_runs_nothing_and_names_the_command(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ran = tmp_path / "ran"
    root = bundle(files={"scripts/__init__.py": f"open({str(ran)!r}, 'w')\n"}, value="$open('a', 'w')")
    files = [root / "configs" / "inference.yaml"]

    with pytest.raises(SegpipeError, match=f"segpipe trust {root}"), admitted(root, files):
        pass
    with pytest.raises(SegpipeError, match="nothing was run"):
        require_admitted(root, files, {}, logging_file=None)
    assert not ran.exists()
