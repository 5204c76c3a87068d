"""The figures of an epoch: to TensorBoard, and to a tracker where the run has one."""

from __future__ import annotations

from collections.abc import Mapping

from segpipe.training.run_folder import RunFolder


def log_figures(run_folder: RunFolder, figures: Mapping[str, float], epoch: int) -> None:
    """Log the figures of an epoch; only the main process may call this.

    Args:
        run_folder: run folder with the log.
        figures: tag -> value.
        epoch: the training epoch, from 1 on.
    """
    writer = run_folder.writer(from_epoch=epoch - 1)
    for tag, value in figures.items():
        writer.add_scalar(tag, value, epoch)
    writer.flush()
    for follow in run_folder.followers:
        follow(figures, epoch)
