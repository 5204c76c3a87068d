"""How a cohort is computed: the engine, precision and threads of its earlier runs, else those of the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.inference.engines import TORCH, Way, require_same_engine
from segpipe.inference.engines.names import INT8
from segpipe.prediction.ledger import Ledger
from segpipe.prediction.options import PredictOptions
from segpipe.prediction.segmenter import Segmenter


@dataclass(frozen=True)
class CohortWay:
    """How the network of a cohort is computed, before its first window.

    Attributes:
        engine: a name of `ENGINES`, or auto.
        precision: see `choose_precision`; or int8; or auto.
        threads_a_window: number of processor threads that compute one window; 0: not settled.
        quantised: hash of the network in int8 of the earlier runs; empty where there is none.
    """

    engine: str
    precision: str
    threads_a_window: int
    quantised: str = ""

    @classmethod
    def of(cls, ledger: Ledger, recipe: str, options: PredictOptions) -> CohortWay:
        """Return the way of the earlier runs with this recipe; of the options where there is none.

        Raises:
            SegpipeError: the earlier engine is not installed here.
        """
        engine, precision, threads = options.computing_engine, options.precision, 0
        before = [entry for entry in ledger.entries.values() if entry.recipe == recipe and entry.precision]
        if before and precision == "auto":
            precision = before[-1].precision
        if before and engine == "auto":  # an earlier segpipe knew no engine but PyTorch
            engine = next((entry.engine for entry in reversed(before) if entry.engine), TORCH)
            require_same_engine(ledger.path.parent, engine)
        for entry in before:
            if entry.engine == engine and entry.threads:
                threads = entry.threads
        quantised = next((entry.quantised for entry in reversed(before) if entry.quantised), "")
        return cls(engine, precision, threads, quantised)

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
