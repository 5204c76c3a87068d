"""The scores of a classifier's validation: all logits of an epoch, and the figures that are computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy, Metric
from ignite.metrics.metric import MetricUsage
from monai.engines import IterationEvents, Workflow
from monai.metrics import compute_roc_auc
from monai.utils import convert_to_tensor
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run
from segpipe.training.metrics import ACCURACY

KeyScore = Literal["auroc", "accuracy", "log_loss"]
KEY_SCORES: tuple[KeyScore, ...] = ("auroc", "accuracy", "log_loss")


@dataclass(frozen=True)
class ImageScores:
    """The logits of a validation, a row an image.

    Attributes:
        cases: N case ids.
        logits: `(N, C)` float64.
        targets: for classes `(N,)` int64; for findings `(N, C)` float32 with 1 present, 0 absent, NaN unknown.
        labels: the C classes or findings.
    """

    cases: tuple[str, ...]
    logits: NDArray[np.float64]
    targets: NDArray[Any]
    labels: Categories

    @property
    def present(self) -> NDArray[np.float64]:
        """Whether each name is true of each image, `(N, C)`: 1, 0, or NaN where nobody knows."""
        if self.labels.exclusive:
            return np.asarray(np.arange(self.labels.num) == self.targets[:, None], np.float64)
        return np.asarray(self.targets, np.float64)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The network's own probabilities, without a calibration, `(N, C)`."""
        return Calibration.none(self.labels).probabilities(self.logits)

    def aurocs(self) -> list[float]:
        """Return the area under the ROC curve of each name; NaN where its known images are all of one kind."""
        scores, present = self.probabilities, self.present
        return [_auroc(scores[:, one], present[:, one]) for one in range(self.labels.num)]

    def accuracy(self) -> float:
        """Return the share of images whose most probable class is right, or of known findings at one half.

        NaN where no finding is known.
        """
        if self.labels.exclusive:
            return float((self.logits.argmax(1) == self.targets).mean())
        known = ~np.isnan(self.targets)
        return float(((self.logits > 0) == (self.targets > 0))[known].mean()) if known.any() else float("nan")

    def log_loss(self) -> float:
        """Return the mean negative log-likelihood of the network's own probabilities; NaN where no finding is known."""
        logits, targets = torch.from_numpy(self.logits), torch.from_numpy(self.targets)
        if self.labels.exclusive:
            return float(cross_entropy(logits, targets))
        known = ~torch.isnan(targets)
        if not known.any():
            return float("nan")
        return float(binary_cross_entropy_with_logits(logits[known], targets[known].double()))


class ImageScore(Metric):  # type: ignore[misc]  # ignite exports it untyped
    """The key metric of a classifier's validation; also gathers its logits for the handlers after it.

    Args:
        labels: the classes or findings.
        score: "auroc", the mean over names that have images of both kinds; "accuracy"; or "log_loss", whose negative is
            the metric, so that higher is better.

    Raises:
        SegpipeError: an unknown score.

    Attributes:
        result: scores of the latest validation, of all processes; None before the first.
    """

    @refusal_ends_run()
    def __init__(self, labels: Categories, score: KeyScore = "auroc") -> None:
        if score not in KEY_SCORES:
            raise SegpipeError(f"score is {score!r:.80}, must be one of {', '.join(KEY_SCORES)}")
        self.labels = labels
        self.score = score
        self.result: ImageScores | None = None
        self._rows: list[tuple[str, NDArray[np.float64], NDArray[Any]]] = []
        super().__init__(output_transform=lambda output: output)

    def reset(self) -> None:
        """Forget the images of the validation before."""
        self._rows = []

    def iteration_completed(self, engine: Engine) -> None:
        """Add the images of a batch."""
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.update((str(record["case"]), output["pred"], output["label"]))

    def update(self, output: tuple[str, Any, Any]) -> None:
        """Add an image: its case id, logits and target."""
        case, logits, target = output
        self._rows.append((case, _array(logits).astype(np.float64), _array(target)))

    def compute(self) -> float:
        """Return the score; every process must call this.

        Raises:
            SegpipeError: the network's scores are not finite, or no finding of any image is known.
        """
        rows = _of_all_processes(self._rows)
        logits = np.stack([row[1] for row in rows])
        if not np.isfinite(logits).all():
            bad = next(case for case, scores, _ in rows if not np.isfinite(scores).all())
            raise SegpipeError(
                f"{bad}: the network's scores are NaN or infinite; the training diverged: lower the learning rate"
            )
        self.result = ImageScores(
            tuple(row[0] for row in rows), logits, np.stack([row[2] for row in rows]), self.labels
        )
        if np.isnan(self.result.present).all():
            raise SegpipeError(
                f"validation: every finding is unknown in all of its {len(rows)} images, so that no epoch is the best; "
                "hold out images with known findings, or train on all images with fold=all"
            )
        if self.score == "log_loss":
            return -self.result.log_loss()
        if self.score == "accuracy":
            return self.result.accuracy()
        areas = np.array(self.result.aurocs())
        return float(np.nanmean(areas)) if np.isfinite(areas).any() else 0.0


def attach_image_accuracy(engine: Workflow) -> Metric:
    """Add `accuracy` to an engine's metrics: the share of an epoch's images, or known findings, that are right.

    The logits are those during training, of augmented images before the optimiser's step. All processes count.
    """
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.FORWARD_COMPLETED)
    accuracy = Accuracy(_decisions, device=idist.device())
    accuracy.attach(engine, ACCURACY, usage)
    return accuracy


def _decisions(output: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, targets = (convert_to_tensor(output[key], track_meta=False) for key in ("pred", "label"))
    if targets.ndim == 1:
        return logits.float(), targets.long()
    known = ~torch.isnan(targets)
    return (logits[known] > 0).long(), targets[known].long()


def _auroc(scores: NDArray[np.float64], present: NDArray[np.float64]) -> float:
    known = ~np.isnan(present)
    positive = present[known] > 0
    if positive.all() or not positive.any():
        return float("nan")
    values = compute_roc_auc(torch.from_numpy(scores[known]), torch.from_numpy(positive.astype(np.int64)))
    return float(np.asarray(values))


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(torch.as_tensor(convert_to_tensor(value, track_meta=False)).detach().cpu().numpy())


def _of_all_processes(rows: Sequence[Any]) -> list[Any]:
    if not (dist.is_available() and dist.is_initialized()):
        return list(rows)
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, list(rows))
    return [row for part in gathered for row in part]
