"""Segments one scan with an open bundle: streamed in bounded memory where possible, else through MONAI's own chain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain as concatenated
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from segpipe.bundle.open import OpenBundle
from segpipe.confidence import FeatureMeter
from segpipe.confidence.smoothing import smoothed
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256
from segpipe.inference import FlipInferer, PrecisionInferer, SliceInferer
from segpipe.inference.decisions import decision_of
from segpipe.inference.engines import EngineChoice, Way
from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.engines.engine import WindowQueue
from segpipe.inference.engines.mirrored import MirroredQueue
from segpipe.inference.engines.names import FLOAT32, INT8, ONNXRUNTIME, OPENVINO, TORCH
from segpipe.inference.engines.quantised import quantised_for
from segpipe.inference.inverse_mapping import InverseMapping
from segpipe.inference.precision import seconds_of
from segpipe.inference.restoring import certain_outside, restored_planes
from segpipe.inference.streaming import Band, CannotStreamError, ScoreStream
from segpipe.inference.window_overlap import overlap_of, with_overlap
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.label_arrays import (
    SLICE_DIMS,
    as_volume,
    collected,
    on_grid,
    require_scores_of,
    tissue_mask,
)
from segpipe.prediction.score_settings import score_settings, temperature_of
from segpipe.prediction.segmentation import Segmentation
from segpipe.prediction.streamable import StreamPlan
from segpipe.reference_ranges import EntropyMeter, Measures, image_measures, scan_measures
from segpipe.transforms import CTIntensityd
from segpipe.volumes import Grid

Box = tuple[slice, slice, slice]
"""A part of a preprocessed volume, in voxels."""


class Segmenter:
    """Segments preprocessed scans, one after the other, with an open bundle.

    Args:
        bundle: from `open_bundle`.
        precision: see `segpipe.inference.choose_precision`; "auto": the bundle's precision, and if that is auto too,
            the faster one of two on a window of the first scan. "int8": of the network that lies beside the weights.
        engine: what computes the network, a name of `ENGINES`; "auto": the faster one on that window.
        batch_size: windows per batch; None: the bundle's number.
        windows: overlap of windows, and mirror images; None: the bundle's.
        skip_empty: skip windows in which no voxel rises above this share of the scan's intensity range, from the 0.5th
            to the 99.5th percentile; None: compute every window.
        report: called with a message when segpipe deviates from the request.
        threads_a_window: see `EngineChoice`.
        cache: see `EngineChoice`.

    Raises:
        SegpipeError: an overlap is given, and the windows of the bundle's inferer have none.

    Attributes:
        scans: number of scans that are still to be segmented; a long work is worth a conversion.
        flips: axes along which inputs are mirrored.
        overlap: overlap of neighbouring windows along each axis; empty for an inferer without windows.
    """

    def __init__(
        self,
        bundle: OpenBundle,
        precision: str = "auto",
        batch_size: int | None = None,
        windows: WindowSettings | None = None,
        skip_empty: float | None = None,
        report: Callable[[str], None] = lambda _: None,
        engine: str = TORCH,
        threads_a_window: int = 0,
        cache: EngineCache | None = None,
    ) -> None:
        self.bundle = bundle
        inferer = bundle.inferer
        if isinstance(inferer, PrecisionInferer):
            precision = inferer.precision if precision == "auto" else precision
            inferer = inferer.inferer
        self._choice = EngineChoice(
            bundle.network,
            bundle.sha256,
            engine,
            precision,
            report,
            cache,
            threads_a_window,
            quantised_for(
                bundle.weights, bundle.weights_sha256, engine, precision, bundle.device.type, report
            ),
        )
        self.scans = 1
        windows = windows or WindowSettings()
        self.flips = windows.flips or ()
        if isinstance(inferer, FlipInferer):
            self.flips = inferer.flips if windows.flips is None else self.flips
            inferer = inferer.inferer
        self._inferer = inferer if windows.overlap is None else with_overlap(inferer, windows.overlap)
        self.overlap = overlap_of(self._inferer)
        self.batch_size = batch_size
        self.skip_empty = skip_empty
        self.report = report
        self._reported: set[str] = set()
        self._streams: dict[StreamPlan, tuple[ScoreStream, Way]] = {}
        self._lock = threading.Lock()  # MONAI's inverse transforms change shared transforms for a moment

    @property
    def precision(self) -> str:
        """The chosen precision; the one that was asked for, which may be "auto", until the first scan."""
        return self._choice.precision if self._choice.way is None else self._choice.way.precision

    @property
    def threads_a_window(self) -> int:
        """The number of processor threads that compute one window; 0 for PyTorch, and until the first scan."""
        return self._choice.threads_a_window

    def recorded(self, way: Way | None) -> dict[str, Any]:
        """Return the fields of a ledger's entry that say how a scan's scores were computed.

        Args:
            way: engine and precision of the scores; None for MONAI's own chain.
        """
        fields = {
            "precision": self.precision,
            "torch_threads": torch.get_num_threads(),
            "overlap": self.overlap,
            "flips": self.flips,
        }
        if way is None:
            return fields
        is_batched = way.engine not in (OPENVINO, ONNXRUNTIME)
        batch_size = max((plan.window.batch_size for plan in list(self._streams)), default=0)
        how = {"batch_size": batch_size} if is_batched else {"threads": self.threads_a_window}
        return {
            **fields,
            "precision": way.precision,
            "engine": way.engine,
            **how,
            "quantised": self.quantised_sha256(way),
        }

    def quantised_sha256(self, way: Way | None) -> str:
        """Return the hash of the network in int8 that gave the scores of a way; empty for another precision."""
        quantised = self._choice.quantised
        return quantised.sha256 if quantised and way is not None and way.precision == INT8 else ""

    def score_settings(self, *, located: bool = False) -> dict[str, Any]:
        """Return the settings that certainty depends on, after the first scan; `located`: a locator chose a part."""
        steps = json_sha256(self.bundle.configuration.get("postprocessing"))[:8]
        return score_settings(self.overlap, self.flips, self.precision, steps, located=located)

    def by_slices(self, grid: Grid) -> bool:
        """Return whether the network takes the slices of a scan one by one."""
        return grid.spatial_dims == 2 or isinstance(self._inferer, SliceInferer)

    def prepare(self, loaded: MetaTensor) -> MetaTensor:
        """Return the preprocessed scan, from `(C, x, y[, z])` as `bundle.read` returns it."""
        key = self.bundle.image_key
        with self._lock:
            return self.bundle.preprocessing({key: loaded})[key]

    def prepared(self, loaded: MetaTensor, grid: Grid) -> tuple[MetaTensor, Measures]:
        """Return the preprocessed scan and its measures.

        Args:
            loaded: `(C, x, y[, z])` as `bundle.read` returns it; transforms may change it in place.
            grid: grid of `loaded`.
        """
        by_slices, key, steps = self.by_slices(grid), self.bundle.image_key, self.bundle.preprocessing
        scale = self._scaling_steps()
        with self._lock:
            scaled = steps({key: loaded}, end=scale)
            voxels = scaled[key].as_tensor().numpy()
            of_scan = scan_measures(voxels, grid, by_slices=by_slices, scaled=scale > 0)
            image = steps(scaled, start=scale)[key]
        of_image = image_measures(image.as_tensor(), by_slices=by_slices, scaled=scale > 0)
        lying = aff2axcodes(image.affine) if image.ndim > SLICE_DIMS else None
        return image, replace(of_image, values=of_scan | of_image.values, axcodes=lying)

    def _scaling_steps(self) -> int:
        """Return how many first transforms bring HU and 8-bit CT to one scale; 0 if intensities stay as stored."""
        steps = self.bundle.preprocessing.transforms
        places = [place for place, step in enumerate(steps, start=1) if isinstance(step, CTIntensityd)]
        return max(places, default=0)

    def segment(
        self,
        image: MetaTensor,
        grid: Grid,
        *,
        entropy: bool = False,
        probabilities: NDArray[np.float16] | None = None,
        uncertainty: bool = False,
        features: bool = False,
        box: Box | None = None,
    ) -> Segmentation:
        """Segment a scan.

        Args:
            image: from `prepare`.
            grid: of the scan as read.
            entropy: compute the entropy of each voxel.
            probabilities: array `(classes, x, y[, z])` that is filled; None: do not compute them.
            uncertainty: compute the mean entropy.
            features: compute the features that a Dice is predicted from.
            box: part of `image`, in voxels, that the network gets; the rest becomes background with certainty. None:
                all. MONAI's own chain always gets all.

        Raises:
            SegpipeError: scores are NaN or infinite; the chain does not end with a label map on the scan's grid; or
                probabilities are asked for and only MONAI's own chain can segment the scan.
        """
        wanted = entropy or probabilities is not None
        meter = EntropyMeter(decision_of(self.bundle.labels)) if uncertainty else None
        of_targets = FeatureMeter(self.bundle.labels) if features else None
        with torch.inference_mode():
            try:
                plan = self._plan(image.ndim - 1)
                way = InverseMapping.of(image, grid.size, grid.affine)
                stream, way_of_scores = self._stream(plan, image)
                volume = as_volume(image)
                tissue = tissue_mask(volume, self.skip_empty)
                if box is not None:
                    volume, tissue = volume[(..., *box)], None if tissue is None else tissue[box]
                    way = way.within(box)
                bands = stream.bands(volume, tissue)
                first = next(bands)  # the first answer of the network may show that streaming is impossible
            except CannotStreamError as reason:
                if wanted:
                    raise SegpipeError(
                        f"this bundle cannot produce probabilities and entropy: {reason}; leave out "
                        "--probabilities and --entropy"
                    ) from reason
                return self._by_monai(image, grid, str(reason), meter, of_targets)
            scored: Iterable[Band] = concatenated([first], bands)
            scored = scored if meter is None else meter.bands(scored)
            scored = scored if of_targets is None else of_targets.bands(scored, volume)
            planes = restored_planes(scored, way, plan.decision, probabilities=wanted)
            if box is not None:
                planes = certain_outside(planes, self.bundle.labels)
            entropy_of, temperature = (
                plan.decision if entropy else None,
                temperature_of(self.bundle.confidence, self.score_settings(located=box is not None)),
            )
            labels, entropies = collected(
                planes, grid.size, self.bundle.labels, entropy_of, probabilities, temperature
            )
            windows, skipped = stream.statistics.windows, stream.statistics.skipped
            if of_targets is not None:
                of_targets.compare(stream.bands(smoothed(volume), tissue))
            return Segmentation(
                plan.finished(labels, grid.affine),
                entropies,
                windows,
                skipped,
                uncertainty=None if meter is None else meter.mean,
                way=way_of_scores,
                features=None if of_targets is None else of_targets.features,
            )

    def settled(self, image: MetaTensor) -> Way | None:
        """Return engine and precision of a preprocessed scan, measured now if they are not settled.

        None for MONAI's own chain.
        """
        try:
            with torch.inference_mode():
                return self._stream(self._plan(image.ndim - 1), image)[1]
        except CannotStreamError:
            return None

    def cost(self, image: MetaTensor) -> tuple[int, float, int]:
        """Return the number of windows of a preprocessed scan, their seconds, and the bytes of scores held in memory.

        Raises:
            CannotStreamError: MONAI's own chain would segment the scan.
        """
        plan, volume = self._plan(image.ndim - 1), as_volume(image)
        size = tuple(volume.shape[1:])
        window = plan.window.fitted(size)
        with torch.inference_mode():
            stream, _ = self._stream(plan, image)
            example = torch.zeros(
                (window.batch_size, len(volume), *window.roi_size), device=self.bundle.device
            )
            seconds = seconds_of(stream.predictor, example) / window.batch_size
        windows = len(window.starts(window.padded_size(size)))
        return windows, windows * seconds, stream.held_bytes(size)

    def window_size(self, image: MetaTensor) -> tuple[int, ...]:
        """Return the voxels of a window in a preprocessed scan; a slice is a volume with one plane.

        Raises:
            CannotStreamError: MONAI's own chain would segment the scan.
        """
        return self._plan(image.ndim - 1).window.fitted(as_volume(image).shape[1:]).roi_size

    def drawn_windows(self, image: MetaTensor, count: int, draw: np.random.Generator) -> list[torch.Tensor]:
        """Return windows of a preprocessed scan as the network takes them, see `SlidingWindow.drawn`.

        Raises:
            CannotStreamError: MONAI's own chain would segment the scan.
        """
        plan = self._plan(image.ndim - 1)
        windows = plan.window.drawn(as_volume(image), count, draw)
        return [window.squeeze(-1) if plan.flat else window for window in windows]

    def _plan(self, spatial_dims: int) -> StreamPlan:
        return StreamPlan.of(
            self._inferer, self.bundle.postprocessing, self.bundle.labels, spatial_dims, self.batch_size
        )

    def _stream(self, plan: StreamPlan, image: MetaTensor) -> tuple[ScoreStream, Way]:
        if plan not in self._streams:
            predictor, way = self._predictor(plan, image)
            outputs = len(self.bundle.labels.output_names)
            stream = ScoreStream(plan.window, predictor, outputs, self.bundle.device, self.report)
            self._streams[plan] = stream, way
        return self._streams[plan]

    def _predictor(
        self, plan: StreamPlan, image: MetaTensor
    ) -> tuple[Callable[[torch.Tensor], torch.Tensor], Way]:
        volume = as_volume(image)
        size = tuple(volume.shape[1:])
        window = plan.window.fitted(size)
        example = plan.window.central(volume).to(self.bundle.device)
        windows = len(window.starts(window.padded_size(size))) * self.scans * 2 ** len(self.flips)
        network, way = self._choice.opened(
            example.squeeze(-1) if plan.flat else example,
            plan.window.batch_size,
            windows,
            same_shape=min(plan.window.roi_size) > 0,
        )
        if isinstance(network, WindowQueue):
            return MirroredQueue(network, self.flips, flat=plan.flat), way
        mirrored = FlipInferer(SimpleInferer(), self.flips)

        def scores(windows: torch.Tensor) -> torch.Tensor:
            inputs = windows.squeeze(-1) if plan.flat else windows
            answer: torch.Tensor = mirrored(inputs, network)
            return answer.unsqueeze(-1) if plan.flat and isinstance(answer, torch.Tensor) else answer

        return scores, way

    def _by_monai(
        self,
        image: MetaTensor,
        grid: Grid,
        reason: str,
        meter: EntropyMeter | None = None,
        of_targets: FeatureMeter | None = None,
    ) -> Segmentation:
        if self.precision == INT8:
            raise SegpipeError(
                f"--precision {INT8}: scans go through MONAI's own chain, which computes with PyTorch: {reason}; give "
                f"--precision {FLOAT32}"
            )
        if reason not in self._reported:
            self.report(f"scans go through MONAI's own chain, which holds all scores in memory: {reason}")
            self._reported.add(reason)
        precise = PrecisionInferer(FlipInferer(self._inferer, self.flips), self.precision)
        batch = image.to(self.bundle.device)[None]
        scores = precise(batch, self.bundle.network)
        require_scores_of(batch, scores, len(self.bundle.labels.output_names))
        if meter is not None:
            meter.add(scores[0])
        if of_targets is not None:
            of_targets.add(scores[0], image.as_tensor())
            of_targets.compare_whole(
                precise(smoothed(image.as_tensor()).to(batch)[None], self.bundle.network)[0]
            )
        pred = MetaTensor(torch.as_tensor(scores[0]).cpu(), meta=image.meta)
        key = self.bundle.pred_key
        with self._lock:
            pred = self.bundle.postprocessing({self.bundle.image_key: image, key: pred})[key]
        labels = on_grid(pred, grid, len(self.bundle.labels.names))
        uncertainty = None if meter is None else meter.mean
        features = None if of_targets is None else of_targets.features
        return Segmentation(labels, None, 0, 0, reason, uncertainty, features=features)
