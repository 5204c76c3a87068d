"""Sends a training to a tracker: the handler of a bundle, and the end of its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ignite.engine import Events
from monai.engines import Trainer

from segpipe.monai_run import refusal_ends_run
from segpipe.training.run_folder import RunFolder, is_main_process
from segpipe.training.tracking_settings import (
    MLFLOW,
    NONE,
    address_of,
    is_tracked,
    require_address,
    require_tracker,
)

if TYPE_CHECKING:
    from segpipe.training.mlflow_run import MLflowRun


class Tracking:
    """Sends parameters, the figures of each epoch and files of a run to MLflow; attach to the trainer after `Validate`.

    The figures have the names of TensorBoard's tags. Where MLflow cannot be reached, the training goes on; see
    `MLflowRun`.

    Args:
        run_folder: folder of the run.
        tracking: none or mlflow. MONAI's `--tracking mlflow` has the same effect.
        tracking_uri: address of MLflow; None: the file `mlruns.db` in the folder of all runs. The environment variable
            MLFLOW_TRACKING_URI goes before both.

    Raises:
        SegpipeError: the tracker is not known or not installed, or MLflow does not take the address.
    """

    @refusal_ends_run()
    def __init__(
        self, run_folder: RunFolder, tracking: str | None = NONE, tracking_uri: str | None = None
    ) -> None:
        self.run_folder = run_folder
        self.tracking = tracking
        self.tracking_uri = tracking_uri
        self.run: MLflowRun | None = None
        require_tracker({"tracking": tracking})
        if tracking == MLFLOW:
            require_address(tracking_uri)

    def attach(self, engine: Trainer) -> None:
        """Attach to the trainer; without a tracker, and in all processes but the first, nothing happens."""
        wanted = self.tracking == MLFLOW or is_tracked(self.run_folder.configuration)
        if not wanted or not is_main_process():
            return
        from segpipe.training.mlflow_run import MLflowRun

        self.run = MLflowRun(self.run_folder, address_of(self.tracking_uri, self.run_folder.output_dir))
        self.run_folder.followers.append(self.run.add)
        engine.tracked = self.run
        engine.add_event_handler(Events.EPOCH_STARTED, self.run.begin)  # not earlier: a resume may be refused
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.run.send)


@contextmanager
def tracked(engine: Any) -> Iterator[None]:
    """Run a trainer; afterwards tell its tracker how the run ended, with its files if it is finished."""
    run: MLflowRun | None = getattr(engine, "tracked", None)
    if run is None:
        yield
        return
    try:
        yield
    except Exception:
        run.end(engine, "FAILED")
        raise
    except BaseException:  # a signal, which the user or the machine sent
        run.end(engine, "KILLED")
        raise
    run.end(engine, "FINISHED")
