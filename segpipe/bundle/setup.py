"""Functions that a bundle's `initialize` calls; each refuses with one message if something is wrong."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import Workflow

from segpipe.bundle.cases import TrainingCases
from segpipe.bundle.given import are_given
from segpipe.bundle.image_cases import ImageCases
from segpipe.bundle.next_commands import next_commands
from segpipe.bundle.process_group import prepare_for_ranks
from segpipe.bundle.run_end import ending_in_one_message, machine_errors, watch_started
from segpipe.bundle.run_ranges import forget_ranges, measure_run
from segpipe.bundle.running import merged_configuration, running_parser
from segpipe.bundle.serving import serve_weights
from segpipe.bundle.start_weights import Started, warning_of_seen
from segpipe.dataset.loading import CaseDataset
from segpipe.errors import SegpipeError
from segpipe.inference import PrecisionInferer, choose_precision
from segpipe.inference.heap import LARGEST_OF_A_STEP, keep_freed_memory
from segpipe.monai_run import is_monai_label, is_monai_run, refusal_ends_run
from segpipe.networks.channels_last import channels_last_weights
from segpipe.networks.group_norms import instance_to_group_norms
from segpipe.printable import printable
from segpipe.training import RunFolder
from segpipe.training.run_folder import is_main_process
from segpipe.training.tracking import tracked
from segpipe.training.tracking_settings import require_tracker
from segpipe.transforms import check_intensity_kind
from segpipe.transforms import check_window as check_ends

_logger = logging.getLogger(__name__)


@refusal_ends_run()
def check_device(device: torch.device | str, precision: str = "auto") -> None:
    """Refuse a device that this machine does not have, or an unknown precision.

    Args:
        device: cpu, cuda or cuda:N.
        precision: see `segpipe.inference.choose_precision`.

    Raises:
        SegpipeError: the message lists the available values.
    """
    choose_precision(precision, require_device(device))


def require_device(device: torch.device | str) -> torch.device:
    """Return a device, after checking that this machine has it.

    Args:
        device: cpu, cuda or cuda:N.

    Raises:
        SegpipeError: the message lists the available devices.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise SegpipeError(f"device {device!r} is not a device; use cpu, cuda or cuda:N") from error
    if wanted.type not in ("cpu", "cuda"):
        raise SegpipeError(f"device {wanted} is not supported; use cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.type == "cuda" and (wanted.index or 0) >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise SegpipeError(f"device {wanted} is not there: this machine has {there}; use --device cpu")
    return wanted


@refusal_ends_run()
def start_run(
    run_folder: RunFolder, cases: TrainingCases | ImageCases, started: Started | None = None
) -> None:
    """Make the run's folder with configuration and environment, and log the path for TensorBoard.

    Args:
        run_folder: folder of the run.
        cases: cases of the run; as an argument they are read and checked before the folder is made.
        started: start of the network; as an argument, weights that do not fit are refused before the folder is made.
    """
    configuration = merged_configuration(running_parser())
    require_tracker(configuration)
    _require_enough_cases(cases)
    if started is not None:
        started.note_in(cases.provenance)
    with machine_errors(run_folder):
        run_folder.start(configuration, cases.counted)
        if started is not None:
            started.write(run_folder)
    watch_started(run_folder)
    if is_main_process():
        lines = [
            f"Run folder: {run_folder.path}",
            f"Watch it:   tensorboard --logdir {run_folder.tensorboard}",
            "            and there the page Custom Scalars: http://localhost:6006/#custom_scalars",
            f"Cases:      {len(cases.train)} to train on, {len(cases.validation)} to validate with",
            *([f"            {cases.about}"] if cases.about else []),
            *([] if started is None else started.lines()),
        ]
        for line in lines:
            _logger.info("%s", printable(line))
        seen = [] if started is None else started.seen(cases.held_out)
        if seen:
            _logger.warning("%s", printable(warning_of_seen(seen, len(cases.held_out))))


@refusal_ends_run()
def make(identifiers: Sequence[str]) -> None:
    """Create components of the running configuration before the run writes anything; later uses get the same.

    Args:
        identifiers: ids of components.

    Raises:
        SegpipeError: the message of the component about its arguments, instead of MONAI's report.
    """
    parser = running_parser()
    for identifier in identifiers:
        try:
            parser.get_parsed_content(identifier)
        except RuntimeError as error:
            cause = error.__cause__
            if isinstance(cause, TypeError | ValueError):
                raise SegpipeError(
                    f"{identifier} cannot be made: {str(cause).strip()}; correct its arguments"
                ) from error
            raise


@refusal_ends_run()
def load_cases(datasets: Sequence[CaseDataset]) -> None:
    """Load every case with its deterministic transforms, so that a refused case ends the run before it begins.

    Args:
        datasets: datasets of training and validation.

    Raises:
        SegpipeError: the message names the case.
    """
    with machine_errors(None):
        for dataset in datasets:
            dataset.fill_cache()


def _require_enough_cases(cases: TrainingCases | ImageCases) -> None:
    """Refuse more processes than cases: the others would wait for ever for a process without a case."""
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    for name, records in (("train on", cases.train), ("validate with", cases.validation)):
        if 0 < len(records) < processes:
            raise SegpipeError(
                f"{processes} processes but only {len(records)} cases to {name}: every process needs one; "
                f"start at most {len(records)} processes"
            )


@refusal_ends_run()
def check_sizes(
    strides: Sequence[int | Sequence[int]],
    sizes: Mapping[str, Sequence[int]],
    counts: Mapping[str, int] | None = None,
    any_size: bool = False,
) -> None:
    """Refuse patch sizes that the network cannot halve on every level, and counts below 1.

    Args:
        strides: strides of the network's levels, one number or one per axis; their product must divide the sizes.
        sizes: id -> voxels along each axis of patches and windows.
        counts: id -> number of epochs, cases and the like.
        any_size: the network rounds up when it halves; then only a bottom level of one voxel is too small.

    Raises:
        SegpipeError: the message has the id, its value, the rule and the nearest sizes that fit.
    """
    for name, size in sizes.items():
        steps = _steps(strides, len(size))
        by = steps[0] if len(set(steps)) == 1 else steps
        if any_size:
            if min(size) < 1 or not any(length > step for length, step in zip(size, steps, strict=True)):
                raise SegpipeError(
                    f"{name} is {list(size)} voxels: the network halves every axis to 1/{by}, where more than one "
                    f"voxel must be left; use at least {[2 * step for step in steps]}, or a network of fewer levels"
                )
            continue
        pairs = list(zip(size, steps, strict=True))
        whole = all(length >= step and length % step == 0 for length, step in pairs)
        if not whole or not any(length >= 2 * step for length, step in pairs):
            fitting = [max(step, round(length / step) * step) for length, step in pairs]
            if not any(length >= 2 * step for length, step in zip(fitting, steps, strict=True)):
                fitting[-1] = 2 * steps[-1]
            raise SegpipeError(
                f"{name} is {list(size)} voxels: the network halves every axis to 1/{by}, so each must be a "
                f"multiple of {by}, and one at least {[2 * step for step in steps] if by is steps else 2 * by}; "
                f"use {fitting}"
            )
    for name, count in (counts or {}).items():
        if not isinstance(count, int) or count < 1:
            raise SegpipeError(f"{name} is {count!r}, must be a whole number of at least 1")


def _steps(strides: Sequence[int | Sequence[int]], dims: int) -> list[int]:
    """Return the factor by which a network reduces each axis in all."""
    levels = [[level] * dims if isinstance(level, int) else level for level in strides]
    return [math.prod(axis) for axis in zip(*levels, strict=True)]


@refusal_ends_run()
def check_window(window_hu: Sequence[float], intensity: str) -> None:
    """Refuse a CT window with reversed ends, or an unknown kind of intensity, before any file is read.

    Args:
        window_hu: see `segpipe.transforms.CTIntensityd`.
        intensity: see `segpipe.transforms.CTKindd`.

    Raises:
        SegpipeError: the message has the given and the allowed values.
    """
    check_ends(window_hu)
    check_intensity_kind(intensity)


@refusal_ends_run()
def run_engine(engine: Workflow, reference_ranges: bool = False) -> None:
    """Run a trainer or an evaluator; turn a refusal in its loop into one message.

    A machine that runs out of disk or memory also gives one message. A signal ends the process after the state of a
    training was saved. After a training, the log has the commands that evaluate, use and keep its weights; in MONAI
    Label, the bundle gets them, see `segpipe.bundle.serving`.

    Args:
        engine: trainer or evaluator.
        reference_ranges: after a training in MONAI's run, measure the reference ranges of its weights.

    Raises:
        SegpipeError: the refusal, or the resource that ran out.
        SystemExit: a signal arrived in MONAI's run; the status is 128 plus its number. In another program the signal
            has its usual effect.
    """
    training = getattr(engine, "training_state", None)
    if training is not None:
        prepare_for_ranks(engine)
        _prepare_processor(engine)
    if training is not None and is_main_process():
        # not before: a finished run, whose resume is refused, retains its ranges
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: forget_ranges(training.run_folder.path))
    with (
        tracked(engine),
        ending_in_one_message(engine),
    ):  # the state of a stopped run is saved before all else
        engine.run()
    if training is not None and is_main_process():
        run = training.run_folder
        given = are_given(run.configuration)
        if given and is_monai_label():
            served = serve_weights(run.path, Path(run.configuration["bundle_root"]))
            engine.logger.info("MONAI Label serves these weights now: %s", served)
        if reference_ranges and is_monai_run() and not given:
            measure_run(run.path, run.configuration, engine.logger.info)
        for command in next_commands(run.path, run.configuration):
            engine.logger.info("next: %s", command)


def _prepare_processor(trainer: Workflow) -> None:
    """Make a training's steps cheaper on a processor, with the same numbers to rounding.

    Other programs that train a bundle choose the settings of their process themselves.
    """
    if trainer.state.device.type != "cpu":
        return
    instance_to_group_norms(trainer.network)
    inferer = getattr(trainer, "inferer", None)
    if (
        isinstance(inferer, PrecisionInferer)
        and choose_precision(inferer.precision, trainer.state.device) is torch.bfloat16
    ):
        channels_last_weights(trainer.network)
    if is_monai_run():
        keep_freed_memory(largest=LARGEST_OF_A_STEP)
