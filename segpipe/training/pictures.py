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

_MOST_CHANNELS = 4
_VIEWS = ("image", "reference", "prediction")


@dataclass(frozen=True)
class _Worst:
    """The case with the lowest Dice so far, as a picture; its scan is not kept."""

    dice: float
    case: str
    picture: NDArray[np.uint8]


class ValidationPictures:
    """Draws each validation: the first cases, the worst case, and the confusion matrix; for the evaluator.

    Tags, whose step is the training epoch:

    - `pictures/<case>/1_image` and `2_reference` of the first cases, drawn once since they do not change, and
      `3_prediction` at every validation;
    - where there are several channels, `1_image_<channel>` of each in place of `1_image`, at most four;
    - `validation/worst_case`, reference and prediction of the case with the lowest mean Dice, with its name;
    - `validation/confusion`, for each true class the share of voxels with each predicted class, over all cases.

    A volume is cut through the centre of its reference label; its axial, coronal and sagittal planes stand side by
    side. Worst case and confusion matrix are of all processes' cases. Pictures that change are JPEG.

    Args:
        run_folder: run folder with the log.
        labels: names and colours of the classes.
        num_cases: number of cases that are drawn at every validation.
        image_channel: index of the channel on which label maps are drawn.
        channels: names of the channels; needed for several.
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
        self._drawn: set[str] = set()
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
            if self._num_cases_shown < self.num_cases and is_main_process():
                self._draw_always(case, output["image"], maps, engine.state.epoch)
            self._num_cases_shown += 1
            self._keep_worst(
                case, output["image"], maps, foreground_dice(confusion, self.labels.target_classes)
            )

    def _draw_always(self, case: str, image: MetaTensor, maps: dict[str, NDArray[Any]], epoch: int) -> None:
        names: tuple[str, ...] = ("prediction",) if case in self._drawn else _VIEWS
        writer = self.run_folder.writer(from_epoch=epoch - 1)
        if self.channels and case not in self._drawn:
            names = _VIEWS[1:]
            for number, channel in enumerate(self.channels[:_MOST_CHANNELS]):
                picture = self._views(image, maps, ("image",), number)["image"]
                add_picture(writer, f"pictures/{case}/1_image_{channel}", picture, epoch, small=False)
        self._drawn.add(case)
        for name, picture in self._views(image, maps, names).items():
            tag = f"pictures/{case}/{_VIEWS.index(name) + 1}_{name}"
            add_picture(writer, tag, picture, epoch, small=name == "prediction")

    def _keep_worst(
        self, case: str, image: MetaTensor, maps: dict[str, NDArray[Any]], dice: NDArray[np.float64]
    ) -> None:
        if np.isnan(dice).all():  # neither map has any foreground
            return
        mean = float(np.nanmean(dice))
        if self._worst is not None and mean >= self._worst.dice:
            return
        legend = [
            (target.color, f"{target.name}  " + ("-" if np.isnan(value) else f"{value:.3f}"))
            for target, value in zip(self.labels.targets, dice, strict=True)
        ]
        shown = f" on {self.channels[self.image_channel]}" if self.channels else ""
        picture = captioned(self._views(image, maps, _VIEWS[1:]), f"{case}{shown}: Dice {mean:.3f}", legend)
        self._worst = _Worst(mean, case, picture)

    def _views(
        self,
        image: MetaTensor,
        maps: dict[str, NDArray[Any]],
        names: tuple[str, ...],
        image_channel: int | None = None,
    ) -> dict[str, NDArray[np.uint8]]:
        """Return one picture per view of a case, without and with its label maps."""
        number = self.image_channel if image_channel is None else image_channel
        channel = image[number].float().cpu().numpy()
        spacing = image.pixdim.tolist()
        ignored = maps["reference"] == self.labels.ignored_index
        centre = label_centre(np.where(ignored, 0, maps["reference"]))
        return {
            name: overlay_planes(channel, maps.get(name), self.labels.drawn_colors, centre, spacing)
            for name in names
        }

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
