"""What a training logged, epoch by epoch, from its run folder: loss, Dice and accuracy, as a table and as a line.

    python benchmarks/curves.py RUN_FOLDER --about "sts_ct, planned, 16 epochs"

A line is added to results/curves.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bundle_runs import append_line
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.files import read_json

RESULTS = Path(__file__).with_name("results") / "curves.jsonl"
GROUPS = ("loss", "dice", "voxel_accuracy")
SECONDS = "speed/seconds_per_epoch"


def main() -> None:
    """Print the table and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--about", required=True, help="what was trained on what, for people")
    given = parser.parse_args()
    log = EventAccumulator(str(given.run / "tensorboard"), {"scalars": 0}).Reload()
    tags = [tag for tag in log.Tags()["scalars"] if tag.partition("/")[0] in GROUPS or tag == SECONDS]
    curves = {tag: {event.step: round(event.value, 4) for event in log.Scalars(tag)} for tag in tags}
    print(f"| epoch | {' | '.join(tags)} |")
    print(f"|{'---|' * (len(tags) + 1)}")
    for epoch in sorted({epoch for curve in curves.values() for epoch in curve}):
        print(f"| {epoch} | {' | '.join(str(curves[tag].get(epoch, '')) for tag in tags)} |")
    made = read_json(given.run / "environment.json", "the environment of a run")
    about = {name: made[name] for name in ("processor", "threads", "commit")}
    append_line(RESULTS, {"about": given.about, **about, "curves": curves})


if __name__ == "__main__":
    main()
