"""The pictures that TensorBoard shows of a classifier's validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from ignite.engine import Events
from monai.engines import Evaluator
from monai.utils import convert_to_tensor
from numpy.typing import NDArray

from segpipe.categories import NO_FINDING
from segpipe.pictures import captioned, confusion_picture, grey_levels
from segpipe.training.image_scores import ImageScore, ImageScores
from segpipe.training.run_folder import RunFolder, is_main_process
from segpipe.training.tensorboard import add_drawing, add_picture

_SHORTEST = 192  # pixels of a drawn image's shorter side, beside text of fixed size
_RIGHT, _WRONG = (0, 158, 115), (213, 94, 0)


class ImageValidationPictures:
    """Draws each validation: the first images with their top classes, the worst images, the confusion matrix.

    Tags, whose step is the training epoch:

    - `pictures/<case>`: the first images with their most probable names and the true ones;
    - `validation/worst_<number>`: the images of this process whose true names have the lowest probability;
    - `validation/confusion`, of classes: for each true class the share of images with each predicted class, over all
      images.

    Args:
        run_folder: run folder with the log.
        metric: the evaluator's key metric.
        num_cases: number of images that are drawn at every validation, and of worst images.
        top: number of names below an image.
    """

    def __init__(self, run_folder: RunFolder, metric: ImageScore, num_cases: int = 3, top: int = 3) -> None:
        self.run_folder = run_folder
        self.metric = metric
        self.num_cases = num_cases
        self.top = top
        self._first: dict[str, NDArray[np.uint8]] = {}
        self._worst: dict[str, tuple[float, NDArray[np.uint8]]] = {}

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)

    def _begin(self, _: Evaluator) -> None:
        self._first, self._worst = {}, {}

    def _look(self, engine: Evaluator) -> None:
        rows = zip(engine.state.batch, engine.state.output, strict=True)
        for record, output in rows if is_main_process() else ():
            case = str(record["case"])
            if len(self._first) < self.num_cases:
                self._first[case] = _drawn(output["image"])
            loss = _loss(output["pred"], output["label"], exclusive=self.metric.labels.exclusive)
            self._worst[case] = (loss, _drawn(output["image"]))
            if len(self._worst) > self.num_cases:
                self._worst.pop(min(self._worst, key=lambda name: self._worst[name][0]))

    def _log(self, engine: Evaluator) -> None:
        scores = self.metric.result
        if scores is None or not is_main_process():
            return
        epoch = engine.state.epoch
        writer = self.run_folder.writer(from_epoch=epoch - 1)
        place = {case: row for row, case in enumerate(scores.cases)}
        for case, picture in self._first.items():
            add_picture(
                writer, f"pictures/{case}", self._captioned(scores, place[case], picture), epoch, small=True
            )
        worst = sorted(self._worst.items(), key=lambda item: -item[1][0])
        for number, (case, (_, picture)) in enumerate(worst, 1):
            tag = f"validation/worst_{number}"
            add_picture(writer, tag, self._captioned(scores, place[case], picture), epoch, small=True)
        if scores.labels.exclusive:
            confusion = np.zeros((scores.labels.num,) * 2, np.int64)
            np.add.at(confusion, (scores.targets, scores.logits.argmax(1)), 1)
            title = f"Share of each true class predicted as each class, epoch {epoch}"
            add_drawing(
                writer,
                "validation/confusion",
                confusion_picture(confusion, scores.labels.names, title),
                epoch,
            )
        writer.flush()

    def _captioned(self, scores: ImageScores, row: int, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        names, present = scores.labels.names, scores.present[row]
        true = [name for name, value in zip(names, present, strict=True) if value == 1]
        probabilities = scores.probabilities[row]
        order = np.argsort(-probabilities)[: self.top]
        legend = [
            (_RIGHT if present[one] == 1 else _WRONG, f"{names[one]}  {probabilities[one]:.3f}")
            for one in order
        ]
        return captioned({f"true: {', '.join(true) or NO_FINDING}": picture}, scores.cases[row], legend)


def _drawn(image: Any) -> NDArray[np.uint8]:
    """Return an image `(C, rows, columns)` as grey levels in colour, `(rows, columns, 3)`; a small one is enlarged."""
    pixels = convert_to_tensor(image, track_meta=False).float().mean(0).cpu().numpy()
    factor = max(-(-_SHORTEST // min(pixels.shape)), 1)
    large = grey_levels(pixels).repeat(factor, axis=0).repeat(factor, axis=1)
    return np.repeat(large[..., None], 3, axis=2)


def _loss(logits: Any, target: Any, *, exclusive: bool) -> float:
    scores = convert_to_tensor(logits, track_meta=False).double().cpu().numpy()
    if exclusive:
        shifted = scores - scores.max()
        return float(np.log(np.exp(shifted).sum()) - shifted[int(target)])
    truth = convert_to_tensor(target, track_meta=False).double().cpu().numpy()
    known = ~np.isnan(truth)
    signed = np.where(truth[known] > 0, -scores[known], scores[known])
    return float(np.logaddexp(0.0, signed).max(initial=0.0))
