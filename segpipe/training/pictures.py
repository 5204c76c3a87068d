"""The pictures that TensorBoard shows of each validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import Evaluator
from numpy.typing import NDArray

from segpipe.confusion import confusion_matrix, foreground_dice
from segpipe.labels import LabelTable
from segpipe.pictures import captioned, confusion_picture, label_centre, overlay_planes
from segpipe.training.run_folder import RunFolder, is_main_process
from segpipe.training.tensorboard import add_drawing, add_picture
from segpipe.transforms.class_maps import class_map


@dataclass(frozen=True)
class _Worst:
    """The case with the lowest Dice so far, as a picture; its scan is not kept."""

    dice: float
    case: str
    picture: NDArray[np.uint8]


class ValidationPictures:
    """Draws each validation: the first cases, the worst case, and the confusion matrix; for the evaluator.

    Tags, whose step is the training epoch:

    - `pictures/<case>` of the first cases: image, reference and prediction in one picture, with the Dice of each class;
      where there are several channels, one image for each, under its name;
    - `validation/worst_case`, the same of the case with the lowest mean Dice;
    - `validation/confusion`, for each true class the share of voxels with each predicted class, over all cases.

    A volume is cut through the centre of its reference label, see `segpipe.pictures.overlay_planes`. Worst case and
    confusion matrix are of all processes' cases. Pictures of cases are JPEG.

    Args:
        run_folder: run folder with the log.
        labels: names and colours of the classes.
        num_cases: number of cases that are drawn at every validation.
        image_channel: index of the channel on which label maps are drawn.
        channels: names of the channels, for scans of several.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        labels: LabelTable,
        num_cases: int = 3,
        image_channel: int = 0,
        channels: Sequence[str] = (),
    ) -> None:
        self.run_folder = run_folder
        self.labels = labels
        self.num_cases = num_cases
        self.image_channel = image_channel
        self.channels = tuple(channels) if len(channels) > 1 else ()
        self._num_cases_shown = 0
        self._worst: _Worst | None = None
        self._confusion = np.zeros((labels.num_classes,) * 2, np.int64)

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)

    def _begin(self, _: Engine) -> None:
        self._num_cases_shown = 0
        self._worst = None
        self._confusion[...] = 0

    def _look(self, engine: Evaluator) -> None:
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            maps = {"reference": class_map(output["label"]), "prediction": class_map(output["pred"])}
            confusion = confusion_matrix(
                maps["prediction"],
                maps["reference"],
                self.labels.num_classes,
                ignored_index=self.labels.ignored_index,
            )
            self._confusion += confusion
            case = str(record["case"])
            dice = foreground_dice(confusion, self.labels.target_classes)
            if self._num_cases_shown < self.num_cases and is_main_process():
                writer = self.run_folder.writer(from_epoch=engine.state.epoch - 1)
                picture = self._tile(case, output["image"], maps, dice)
                add_picture(writer, f"pictures/{case}", picture, engine.state.epoch, small=True)
            self._num_cases_shown += 1
            self._keep_worst(case, output["image"], maps, dice)

    def _keep_worst(
        self, case: str, image: MetaTensor, maps: dict[str, NDArray[Any]], dice: NDArray[np.float64]
    ) -> None:
        if np.isnan(dice).all():  # neither map has any foreground
            return
        mean = float(np.nanmean(dice))
        if self._worst is None or mean < self._worst.dice:
            self._worst = _Worst(mean, case, self._tile(case, image, maps, dice))

    def _tile(
        self, case: str, image: MetaTensor, maps: dict[str, NDArray[Any]], dice: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """Return one picture of a case: its channels, its reference and its prediction, with the Dice of each class."""
        greys = image.float().cpu().numpy()
        spacing, colors = image.pixdim.tolist(), self.labels.drawn_colors
        ignored = maps["reference"] == self.labels.ignored_index
        centre = label_centre(np.where(ignored, 0, maps["reference"]))
        names = self.channels or ("image",)
        shown = dict(zip(names, greys if self.channels else greys[[self.image_channel]], strict=True))
        views = {name: overlay_planes(grey, None, colors, centre, spacing) for name, grey in shown.items()}
        on = f" on {self.channels[self.image_channel]}" if self.channels else ""
        for name, label_map in maps.items():
            grey = greys[self.image_channel]
            views[f"{name}{on}"] = overlay_planes(grey, label_map, colors, centre, spacing)
        legend = [
            (target.color, f"{target.name}  " + ("-" if np.isnan(value) else f"{value:.3f}"))
            for target, value in zip(self.labels.targets, dice, strict=True)
        ]
        mean = "no foreground" if np.isnan(dice).all() else f"Dice {np.nanmean(dice):.3f}"
        return captioned(views, f"{case}: {mean}", legend)

    def _log(self, engine: Evaluator) -> None:
        confusion = (
            idist.all_reduce(torch.from_numpy(self._confusion.copy()).to(idist.device())).cpu().numpy()
        )
        worst = _worst_of_all(self._worst)
        self._worst = None
        if not is_main_process():
            return
        epoch = engine.state.epoch
        writer = self.run_folder.writer(from_epoch=epoch - 1)
        if worst is not None:
            add_picture(writer, "validation/worst_case", worst.picture, epoch, small=True)
        title = f"Share of each true class predicted as each class, epoch {epoch}"
        picture = confusion_picture(confusion, self.labels.names, title)
        add_drawing(writer, "validation/confusion", picture, epoch)
        writer.flush()


def _worst_of_all(worst: _Worst | None) -> _Worst | None:
    """Return the worst case of all processes; every process must call this."""
    gathered = [worst]
    if dist.is_available() and dist.is_initialized():
        gathered = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, worst)
    return min((worst for worst in gathered if worst is not None), key=lambda worst: worst.dice, default=None)
