"""How a cohort is computed: the engine, precision and threads of its earlier runs, else those of the options."""

from __future__ import annotations

from dataclasses import dataclass

from segpipe.inference.engines import TORCH, require_same_engine
from segpipe.prediction.ledger import Ledger
from segpipe.prediction.options import PredictOptions


@dataclass(frozen=True)
class CohortWay:
    """How the network of a cohort is computed, before its first window.

    Attributes:
        engine: a name of `ENGINES`, or auto.
        precision: see `choose_precision`; or auto.
        threads_a_window: number of processor threads that compute one window; 0: not settled.
    """

    engine: str
    precision: str
    threads_a_window: int

    @classmethod
    def of(cls, ledger: Ledger, recipe: str, options: PredictOptions) -> CohortWay:
        """Return the way of the earlier runs with this recipe; of the options where there is none.

        Raises:
            SegpipeError: the earlier engine is not installed here.
        """
        engine, precision, threads = options.engine, options.precision, 0
        before = [entry for entry in ledger.entries.values() if entry.recipe == recipe and entry.precision]
        if before and precision == "auto":
            precision = before[-1].precision
        if before and engine == "auto":  # an earlier segpipe knew no engine but PyTorch
            engine = next((entry.engine for entry in reversed(before) if entry.engine), TORCH)
            require_same_engine(ledger.path.parent, engine)
        for entry in before:
            if entry.engine == engine and entry.threads:
                threads = entry.threads
        return cls(engine, precision, threads)
