"""What a configuration says about a tracker."""

import importlib.util

import pytest

from segpipe.errors import SegpipeError
from segpipe.training.tracking_settings import (
    URI_VARIABLE,
    address_of,
    experiment_of,
    is_tracked,
    require_address,
    require_tracker,
    without_password,
    without_tracking,
)

OF_MONAI = {"_target_": "MLFlowHandler", "_disabled_": "@is_not_rank0", "tracking_uri": "@tracking_uri"}
OURS = {"_target_": "segpipe.training.Tracking", "run_folder": "@run_folder"}
VALIDATE = {"_target_": "segpipe.training.Validate"}


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(URI_VARIABLE, raising=False)


def test_the_id_and_the_argument_of_monai_switch_it_on():
    assert not is_tracked({})
    assert not is_tracked({"tracking": "none", "train": {"handlers": [VALIDATE, OURS]}})
    assert is_tracked({"tracking": "mlflow"})
    assert is_tracked({"tracking": "none", "train": {"handlers": [VALIDATE, OURS, OF_MONAI]}})


def test_a_handler_that_a_bundle_has_of_its_own_is_not_the_argument():
    assert not is_tracked({"train": {"handlers": [{"_target_": "MLFlowHandler"}]}})


def test_a_tracked_experiment_is_the_same_as_one_that_is_not():
    plain = {"epochs": 2, "train": {"handlers": [VALIDATE], "trainer": 1}, "validate": {"handlers": []}}
    tracked = {
        "epochs": 2,
        "tracking": "mlflow",
        "tracking_uri": "http://host",
        "experiment_name": "trial",
        "is_not_rank0": True,
        "save_execute_config": None,
        "train": {"handlers": [VALIDATE, OURS, OF_MONAI], "trainer": 1},
        "validate": {"handlers": [OF_MONAI]},
    }

    assert without_tracking(tracked) == plain
    assert without_tracking(plain) == plain


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"tracking": "wandb"}, "tracking is 'wandb', must be none or mlflow; correct it"),
        ({"tracking": True}, "tracking is True, must be none or mlflow"),
        (
            {"tracking": "mlflow", "tracking_uri": "runs"},
            "tracking_uri is runs, must be a server such as http://host:5000 or a database such as "
            "sqlite:////folder/mlruns.db: MLflow no longer keeps runs in folders",
        ),
        (
            {"tracking": "mlflow", "tracking_uri": "file:///runs"},
            "tracking_uri is file:///runs, must be a server",
        ),
        ({"tracking": "mlflow", "tracking_uri": 5000}, "tracking_uri is 5000, must be an address"),
        (
            {"tracking": "mlflow", "tracking_uri": "https://me:secret@host/x"},
            "tracking_uri https://host/x has a password, which would be recorded with the run; give the whole address "
            "in the variable MLFLOW_TRACKING_URI",
        ),
    ],
)
def test_a_tracker_or_an_address_that_cannot_be_is_refused(configuration, message, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)

    with pytest.raises(SegpipeError) as refused:
        require_tracker(configuration)

    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_without_mlflow_the_message_has_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    require_tracker({"tracking": "none"})
    with pytest.raises(SegpipeError, match=r"mlflow is not installed; run: pip install 'segpipe\[mlflow\]'"):
        require_tracker({"tracking": "mlflow"})


def test_a_folder_in_the_variable_is_refused_by_its_name(monkeypatch):
    monkeypatch.setenv(URI_VARIABLE, "/runs")

    with pytest.raises(SegpipeError, match="MLFLOW_TRACKING_URI is /runs, must be a server"):
        require_address("http://host")


def test_the_variable_goes_before_the_id_and_the_id_before_the_file(tmp_path, monkeypatch):
    assert address_of(None, tmp_path) == f"sqlite:///{tmp_path}/mlruns.db"
    assert address_of("http://host", tmp_path) == "http://host"
    monkeypatch.setenv(URI_VARIABLE, "http://other")
    assert address_of("http://host", tmp_path) == "http://other"


def test_the_experiment_is_the_bundle_unless_it_is_named(tmp_path):
    root = str(tmp_path / "my_bundle")

    assert experiment_of({"bundle_root": root}) == "my_bundle"
    assert (
        experiment_of({"bundle_root": root, "experiment_name": "monai_experiment"}) == "my_bundle"
    )  # MONAI's default
    assert experiment_of({"bundle_root": root, "experiment_name": "trial"}) == "trial"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@host:80/x?y=1", "https://host:80/x?y=1"),
        ("postgresql://me:secret@host/db", "postgresql://host/db"),
        ("sqlite:////folder/mlruns.db", "sqlite:////folder/mlruns.db"),
        ("databricks", "databricks"),
    ],
)
def test_no_password_is_shown(address, shown):
    assert without_password(address) == shown
