"""The rooms depend on each other in one direction, as pyproject.toml states; heavy packages are imported late."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import segpipe

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says
INFORMING = [
    ["bundles"],
    ["info", "mri_hippocampus_unet", "--json"],
    ["info", "cxr_findings_efficientnet"],
    ["info", str(Path(__file__).parents[1] / "bundles" / "ct_covid_unet" / "models" / "model.pt")],
]
HEAVY = ("torch", "monai", "ignite", "SimpleITK", "nibabel", "numpy", "scipy", "skimage")


def test_dependencies_point_one_way(pytestconfig):
    """In a process of its own, since import-linter disables the loggers of its process."""
    linter = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run(
        [linter, "--no-cache"], cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def imported(code):
    """Return which heavy packages a new process has imported after some code."""
    report = f"import atexit, sys; atexit.register(lambda: print('\\n', *({set(HEAVY)} & set(sys.modules))))"
    result = subprocess.run(
        [sys.executable, "-c", f"{report}\n{code}"], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import segpipe; segpipe.__version__; dir(segpipe)",
        "import segpipe.serving.app, segpipe.serving.jobs, segpipe.serving.run, segpipe.serving.worker",
        "import sys, segpipe.cli; sys.argv = ['segpipe', '--help']; segpipe.cli.main()",
        "import sys, segpipe.cli; sys.argv = ['segpipe', 'predict', '--help']; segpipe.cli.main()",
        *(
            f"import sys, segpipe.cli; sys.argv = {['segpipe', *words]}; segpipe.cli.main()"
            for words in INFORMING
        ),
    ],
    ids=["package", "server", "help", "predict help", *map(" ".join, INFORMING)],
)
def test_neither_the_package_nor_help_imports_what_is_heavy(code):
    """Importing torch and MONAI takes seconds; a count of modules does not depend on the load."""
    assert imported(code) == set()


def test_predict_and_its_options_are_those_of_the_bundle_room():
    from segpipe.prediction.options import PredictOptions
    from segpipe.prediction.predict import predict

    assert segpipe.predict is predict
    assert segpipe.PredictOptions is PredictOptions
    assert {"predict", "PredictOptions"} <= set(segpipe.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'segpipe' has no attribute 'predicts'"):
        segpipe.predicts  # noqa: B018


@pytest.mark.parametrize("words", [["--help"], *INFORMING[1:]], ids=" ".join)
def test_it_is_not_felt(words):
    """Half a second on an idle machine; on a busy one, whose cores share units, CPU time is up to 1.4 times that."""
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([SEGPIPE, *words], capture_output=True, check=True)
        after = os.times()
        seconds.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )

    assert min(seconds) < 0.7
