"""What a configuration says about a tracker: which one, where, and which ids have no part in the experiment."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from monai.utils import path_to_sqlite_uri

from segpipe.errors import SegpipeError

NONE, MLFLOW = "none", "mlflow"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlruns.db"  # MONAI's name for it
RECORD = "mlflow.json"  # in the folder of a run: its run of MLflow
# ids that say whether and where a run is tracked; some are of MONAI's `--tracking`
IDS = ("tracking", "tracking_uri", "experiment_name", "is_not_rank0", "save_execute_config")
_OURS = "segpipe.training.Tracking"
_OF_MONAI = {"_target_": "MLFlowHandler", "_disabled_": "@is_not_rank0"}
_DEFAULT_OF_MONAI = "monai_experiment"


def is_tracked(configuration: Mapping[str, Any]) -> bool:
    """Return whether a run sends its figures to MLflow: `tracking: mlflow`, or `--tracking mlflow` of MONAI's run.

    MONAI's argument does not set the id. It adds handlers of its own, which the bundle disables.

    Args:
        configuration: of the run, with its overrides.
    """
    return configuration.get("tracking") == MLFLOW or any(map(_is_of_monai, _handlers(configuration)))


def require_tracker(configuration: Mapping[str, Any]) -> None:
    """Refuse a tracker that is not known or not installed, and an address that MLflow does not take.

    Args:
        configuration: of the run, with its overrides.

    Raises:
        SegpipeError: the message has the values, and what to do.
    """
    tracking = configuration.get("tracking")
    if tracking not in (None, NONE, MLFLOW):
        raise SegpipeError(f"tracking is {tracking!r}, must be {NONE} or {MLFLOW}; correct it")
    if not is_tracked(configuration):
        return
    if importlib.util.find_spec("mlflow") is None:
        raise SegpipeError(
            "tracking is mlflow, but mlflow is not installed; run: pip install 'segpipe[mlflow]', or leave tracking out"
        )
    given = configuration.get("tracking_uri")
    if not (isinstance(given, str) and given[:1] in ("$", "@", "%")):  # the handler gets its value
        require_address(given)


def require_address(given: str | None) -> None:
    """Refuse an address of MLflow that is a folder, or that has a password.

    Args:
        given: of the configuration; None: the default. The variable MLFLOW_TRACKING_URI goes before both.

    Raises:
        SegpipeError: the message has the address without its password.
    """
    if given is not None and not isinstance(given, str):
        raise SegpipeError(f"tracking_uri is {given!r}, must be an address such as http://host:5000, or null")
    if given and urlsplit(given).password:
        raise SegpipeError(
            f"tracking_uri {without_password(given)} has a password, which would be recorded with the run; give the "
            f"whole address in the variable {URI_VARIABLE}, or a server's password in MLFLOW_TRACKING_PASSWORD"
        )
    name, address = (URI_VARIABLE, os.environ[URI_VARIABLE]) if os.environ.get(URI_VARIABLE) else ("", given)
    if address and ("://" not in address or address.startswith("file:")):
        raise SegpipeError(
            f"{name or 'tracking_uri'} is {address}, must be a server such as http://host:5000 or a database such as "
            f"sqlite:////folder/{DATABASE}: MLflow no longer keeps runs in folders"
        )


def address_of(given: str | None, output_dir: Path) -> str:
    """Return where MLflow keeps the runs: MLFLOW_TRACKING_URI, else the given address, else a file in `output_dir`."""
    return os.environ.get(URI_VARIABLE) or given or address_in(output_dir)


def address_in(output_dir: Path) -> str:
    """Return the address of the database in a folder of runs."""
    return str(path_to_sqlite_uri(output_dir / DATABASE))


def without_password(address: str) -> str:
    """Return an address without user and password, for messages and records."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else address


def experiment_of(configuration: Mapping[str, Any]) -> str:
    """Return the name of MLflow's experiment: `experiment_name`, else the name of the bundle's folder."""
    given = configuration.get("experiment_name")
    if given is not None and given != _DEFAULT_OF_MONAI:
        return str(given)
    return Path(str(configuration.get("bundle_root", "."))).resolve().name


def without_tracking(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the ids and handlers of trackers, which change no result."""
    rest = {name: value for name, value in configuration.items() if name not in IDS}
    for part in ("train", "validate"):
        if isinstance(rest.get(part), Mapping) and isinstance(rest[part].get("handlers"), list):
            handlers = [one for one in rest[part]["handlers"] if not _is_tracker(one)]
            rest[part] = {**rest[part], "handlers": handlers}
    return rest


def _handlers(configuration: Mapping[str, Any]) -> list[Any]:
    train = configuration.get("train")
    handlers = train.get("handlers") if isinstance(train, Mapping) else None
    return handlers if isinstance(handlers, list) else []


def _is_of_monai(handler: Any) -> bool:
    return isinstance(handler, Mapping) and all(handler.get(key) == text for key, text in _OF_MONAI.items())


def _is_tracker(handler: Any) -> bool:
    return _is_of_monai(handler) or (isinstance(handler, Mapping) and handler.get("_target_") == _OURS)
