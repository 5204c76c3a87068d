"""How often two equal models are told apart by chance, by the number of patients: by the interval, and by both tests.

    python benchmarks/few_patients.py

Made-up Dice scores of two models that are equally good: each patient has a difficulty of its own, a beta distribution
as skewed as Dice is, and each model a deviation from it. A line is added to results/few_patients.jsonl.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bundle_runs import append_line

from segpipe.evaluation.intervals import paired_differences, sign_flip_p_values
from segpipe.provenance import commit

RESULTS = Path(__file__).with_name("results") / "few_patients.jsonl"
PATIENTS = (2, 3, 4, 5, 6, 8, 10, 20, 40)
TRIALS = 4000
LEVEL = 0.05


def main() -> None:
    """Draw, compare, print the table and add the line."""
    random = np.random.default_rng(0)
    rows = []
    for patients in PATIENTS:
        difficulty = random.beta(8, 2, (patients, TRIALS))
        first, second = (np.clip(difficulty + random.normal(0, 0.03, difficulty.shape), 0, 1) for _ in "ab")
        whose = list(map(str, range(patients)))
        apart = np.array([not own.low <= 0 <= own.high for own in paired_differences(first, second, whose)])
        unlikely = np.array(sign_flip_p_values(first, second, whose)) <= LEVEL
        rows.append(
            [patients, *(round(float(told.mean()), 3) for told in (apart, unlikely, apart & unlikely))]
        )
    print("| patients | interval leaves out 0 | sign-flip p of at most 0.05 | both: told apart |")
    print("|---|---|---|---|")
    for patients, *shares in rows:
        print(f"| {patients} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    append_line(RESULTS, {"trials": TRIALS, "rows": rows, "commit": commit()})


if __name__ == "__main__":
    main()
