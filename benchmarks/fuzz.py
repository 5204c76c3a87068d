"""How damaged files of every format are read: how many are refused, read as the original, or read otherwise.

    python benchmarks/fuzz.py --count 20000 --seed 100

Each copy of a small scan is damaged in one way (a bit, a letter, a number, bytes inserted, deleted, repeated, a file
cut short ...). `refused`: by a SegpipeError. `same`: voxels and grid of the original. `voxels`: a byte of the voxels
where the format has no checksum. `numbers`: a valid number changed into another one, which nothing else in the file
contradicts.
`wrong` and `exception` are faults. A line is added to results/fuzz.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bundle_runs import append_line

from segpipe.provenance import commit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "volumes"))
from fuzz_samples import NAMES, make
from mutations import fuzz

RESULTS = Path(__file__).with_name("results") / "fuzz.jsonl"
OUTCOMES = ("refused", "same", "voxels", "numbers", "wrong", "exception")


def main() -> None:
    """Damage, read, print the table and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000, help="damaged copies of each sample")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("names", nargs="*", default=NAMES, help="samples; all by default")
    given = parser.parse_args()
    print(f"| sample | {' | '.join(OUTCOMES)} | slowest, s |")
    print(f"|{'---|' * (len(OUTCOMES) + 2)}")
    rows = {}
    for name in given.names:
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(make(name, Path(folder)), given.count, given.seed)
        rows[name] = {outcome: found.counts[outcome] for outcome in OUTCOMES}
        print(f"| {name} | {' | '.join(map(str, rows[name].values()))} | {found.slowest:.2f} |", flush=True)
        for fault in found.faults[:10]:
            print(f"  {fault}", file=sys.stderr)
    append_line(RESULTS, {"count": given.count, "seed": given.seed, "commit": commit(), "outcomes": rows})


if __name__ == "__main__":
    main()
