"""How a cohort is computed: engine, precision, threads and batches of its earlier runs, else those of the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.inference.engines import TORCH, Way, require_same_engine
from segpipe.inference.engines.names import INT8
from segpipe.inference.engines.threads import usable_threads
from segpipe.prediction.ledger import Entry, Ledger
from segpipe.prediction.options import PredictOptions
from segpipe.prediction.segmenter import Segmenter


@dataclass(frozen=True)
class CohortWay:
    """How the network of a cohort is computed, before its first window.

    Scores depend on all of these in their last digits, so that the runs of a cohort share them.

    Attributes:
        engine: a name of `ENGINES`, or auto.
        precision: see `choose_precision`; or int8; or auto.
        threads_a_window: number of processor threads that compute one window; 0: not settled.
        torch_threads: number of threads of PyTorch.
        batch_size: windows in a batch; None: the bundle's number.
        quantised: hash of the network in int8 of the earlier runs; empty where there is none.
    """

    engine: str
    precision: str
    threads_a_window: int
    torch_threads: int
    batch_size: int | None
    quantised: str = ""

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        recipe: str,
        options: PredictOptions,
        report: Callable[[str], None] = lambda _: None,
    ) -> CohortWay:
        """Return the way of the earlier runs with this recipe; of the options where there is none.

        Args:
            ledger: of the output folder.
            recipe: of this run.
            options: of this run.
            report: called with a message where this run differs from the earlier ones.

        Raises:
            SegpipeError: the earlier engine is not installed here.
        """
        engine, precision, threads = options.computing_engine, options.precision, 0
        before = ledger.computed(recipe)
        if before and precision == "auto":
            precision = before[-1].precision
        if before and engine == "auto":  # an earlier segpipe knew no engine but PyTorch
            engine = next((entry.engine for entry in reversed(before) if entry.engine), TORCH)
            require_same_engine(ledger.path.parent, engine)
        for entry in before:
            if entry.engine == engine and entry.threads:
                threads = entry.threads
        quantised = next((entry.quantised for entry in reversed(before) if entry.quantised), "")
        of_torch = torch_threads_of(before, report)
        batch_size = batch_size_of(before, options.batch_size, report)
        return cls(engine, precision, threads, of_torch, batch_size, quantised)

    def require_same_network(self, segmenter: Segmenter, folder: Path) -> None:
        """Refuse to go on with a cohort in another int8 network than its earlier runs had.

        Raises:
            SegpipeError: the network was quantised again since.
        """
        found = segmenter.quantised_sha256(Way(self.engine, self.precision))
        if self.precision == INT8 and self.quantised not in ("", found):
            raise SegpipeError(
                f"{folder}: its scans were computed with another network in {INT8}, which was quantised again since; "
                f"restore the earlier files, or give --precision {INT8}, which computes all scans again"
            )


def torch_threads_of(before: list[Entry], report: Callable[[str], None]) -> int:
    """Return the number of PyTorch's threads in a cohort: that of its earlier scans, else all that are usable.

    Args:
        before: entries of the earlier scans.
        report: called with a message if there are fewer cores than threads.
    """
    usable = usable_threads()
    count = next((entry.torch_threads for entry in reversed(before) if entry.torch_threads), usable)
    if count > usable:
        report(
            f"PyTorch computes with {count} threads on {usable} usable cores, as for the earlier scans: slower, but "
            "the outputs stay the same to the byte"
        )
    return count


def batch_size_of(before: list[Entry], asked: int | None, report: Callable[[str], None]) -> int | None:
    """Return the size of batches in a cohort: what is asked for, else that of its earlier scans; None if neither is.

    Args:
        before: entries of the earlier scans.
        asked: for this run.
        report: called with a message if the earlier scans were computed in other batches.
    """
    earlier = next((entry.batch_size for entry in reversed(before) if entry.batch_size), None)
    if asked is None:
        return earlier
    if earlier not in (None, asked):
        report(
            f"--batch-size {asked}: the earlier scans were computed in batches of {earlier}; the last "
            "digits of the scores may differ"
        )
    return asked
