"""`segpipe audit` and `segpipe trust`, and commands that open a bundle before and after consent."""

import pytest
import yaml
from tiny_bundle import BUNDLES, write_bundle, write_scans
from typer.testing import CliRunner

from segpipe.cli import app

MODULE = """\
from monai.inferers import SlidingWindowInferer

open({mark!r}, "a").close()


class Inferer(SlidingWindowInferer):
    pass
"""


@pytest.fixture(autouse=True)
def configuration_folder(tmp_path, monkeypatch):
    """The user's configuration folder; it is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "segpipe"


@pytest.fixture
def mark(tmp_path):
    """A file that the bundle's module writes as soon as it runs."""
    return tmp_path / "RAN"


@pytest.fixture
def bundle(tmp_path, mark):
    """A small bundle with a module that defines its inferer."""
    root = write_bundle(tmp_path / "bundle")
    (root / "own_inferer.py").write_text(MODULE.format(mark=str(mark)))
    path = root / "configs" / "inference.yaml"
    configuration = yaml.safe_load(path.read_text())
    configuration["inferer"]["inferer"]["_target_"] = "own_inferer.Inferer"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return root


@pytest.fixture
def predict(tmp_path, bundle):
    """Run `segpipe predict` on one scan."""
    scans = write_scans(tmp_path / "scans", 1)
    arguments = ["predict", str(scans), "--bundle", str(bundle), "--output", str(tmp_path / "out")]
    return lambda *options: run(*arguments, "--no-overlays", *options)


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("root", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
def test_a_shipped_bundle_passes_and_needs_no_consent(root, configuration_folder):
    audited, trusted = run("audit", str(root)), run("trust", str(root))

    safe = "runs only code that segpipe knows to be safe, in configs/train.yaml, configs/inference.yaml\n"
    assert (audited.exit_code, audited.stdout) == (0, f"{root}: {safe}")
    assert (trusted.exit_code, trusted.stdout) == (0, f"{root}: needs no consent: it {safe}")
    assert not configuration_folder.exists()


def test_the_audit_lists_what_would_run_with_its_place(bundle, mark):
    result = run("audit", str(bundle), "--config", "inference.yaml")

    line = 1 + next(
        number
        for number, text in enumerate((bundle / "configs" / "inference.yaml").read_text().splitlines())
        if text.strip() == "_target_: own_inferer.Inferer"
    )
    assert result.exit_code == 2
    module, component = result.stdout.splitlines()
    assert module == "own_inferer.py: can be imported as code"
    assert component.startswith("configs/inference.yaml:")
    assert abs(int(component.split(":")[1]) - line) <= 1  # the component's, whose first line is its target
    assert component.endswith(
        "inferer#inferer calls 'own_inferer.Inferer', which is not on the list of safe callables"
    )
    assert not mark.exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["predict", "dry run"])
def test_without_consent_nothing_of_it_runs(predict, bundle, mark, options):
    result = predict(*options)

    assert result.exit_code == 2
    first, *_, command, last = result.stderr.splitlines()
    assert first.endswith(
        "nothing was run, since this bundle could run code that segpipe does not know to be safe:"
    )
    assert command.strip() == f"segpipe trust {bundle}"
    assert last == "or give --trust for this run."
    assert not mark.exists()


def test_consent_lasts_until_a_byte_changes(predict, bundle, mark, configuration_folder):
    trusted = run("trust", str(bundle))

    assert trusted.exit_code == 0
    assert trusted.stdout.splitlines()[0] == "own_inferer.py: can be imported as code"
    assert (
        trusted.stdout.splitlines()[-1]
        == f"{bundle}: trusted until one of its files changes; kept in {configuration_folder / 'trusted.json'}"
    )
    assert not mark.exists()
    assert predict().exit_code == 0
    assert mark.exists()

    with (bundle / "own_inferer.py").open("a") as file:
        file.write("\n")
    mark.unlink()

    assert predict("--overwrite").exit_code == 2
    assert not mark.exists()


def test_trust_for_one_run_keeps_nothing(predict, mark, configuration_folder):
    assert predict("--trust").exit_code == 0

    assert mark.exists()
    assert not configuration_folder.exists()
    assert predict("--entropy").exit_code == 2
