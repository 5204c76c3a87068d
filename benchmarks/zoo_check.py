"""What `segpipe check` finds in the segmentation bundles of the model zoo, and how much of it is a false alarm.

    python benchmarks/zoo_check.py model-zoo/models --source COMMIT

The folder holds bundles, such as a clone of github.com/Project-MONAI/model-zoo. Of each segmentation bundle four
configurations are checked, as far as it has them: inference, train, train with evaluate, and train with
multi_gpu_train. Nothing is run. A finding counts as

- note: the run needs a setting from the user, such as the folder of the scans or the id to run;
- data: training needs the data set, which no bundle brings;
- weights: a run loads a file that no bundle brings; most are listed in large_files.yml;
- package: an expression or a module needs a package that is not installed here;
- mistake: the installed MONAI would end the run, or the file would be wrong, for the reason in `EXPLAINED`;
- false alarm: anything else.

A Markdown table and all mistakes are printed; the counts go to results/zoo_check.jsonl.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from bundle_runs import append_line, source

from segpipe.bundle.task import task_of
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.finding import ConfigFinding
from segpipe.configuration.metadata import read_metadata
from segpipe.errors import SegpipeError
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "zoo_check.jsonl"
STACKS = (("inference",), ("train",), ("train", "evaluate"), ("train", "multi_gpu_train"))
KINDS = {
    "data": ("there is no such folder",),
    "weights": ("there is no such file",),
    "package": ("ModuleNotFoundError", "OptionalImportError"),
}
EXPLAINED = {
    "names val_acc, which is no metric": "MetricsSaver leaves the metric out of its files: no engine computes it",
    "img_size is no argument of SwinUNETR": "MONAI removed the argument: the network cannot be made",
    "interpolates the class numbers": "files hold fractions of class numbers at the edges of organs",
    "writes to the file 'training.log'": "every run appends to a file in the working directory",
}
NO_ALARM = "false alarm"


def kind(finding: ConfigFinding) -> str:
    """Return what a finding counts as."""
    if finding.is_note:
        return "note"
    text = str(finding)
    for name, parts in KINDS.items():
        if any(part in text for part in parts):
            return name
    return "mistake" if any(part in text for part in EXPLAINED) else NO_ALARM


def findings(bundle: Path, stack: tuple[str, ...]) -> list[ConfigFinding] | None:
    """Return what is found in a stack of configurations; None where the bundle lacks one of them."""
    files = []
    for name in stack:
        places = [bundle / "configs" / f"{name}.{suffix}" for suffix in ("yaml", "yml", "json")]
        files += [place for place in places if place.is_file()][:1]
    if len(files) < len(stack):
        return None
    return check_bundle(bundle, files, {}, is_inference=stack == ("inference",))


def shown(found: list[ConfigFinding] | None) -> str:
    """Return the cell of a table."""
    if found is None:
        return "-"
    counts = Counter(map(kind, found))
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"


def is_segmentation(bundle: Path) -> bool:
    """Return whether a bundle segments, by what its metadata say of its network's outputs."""
    if "network_data_format" not in read_metadata(bundle / "configs" / "metadata.json"):
        return False
    try:
        return task_of(bundle) == "segmentation"
    except SegpipeError:
        return False


def main() -> None:
    """Check every segmentation bundle of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of bundles")
    parser.add_argument("--only", default="", help="bundles whose names hold this")
    parser.add_argument("--source", help="commit of the bundles, where the folder is no repository")
    options = parser.parse_args()
    found = {
        bundle.name: {"+".join(stack): findings(bundle, stack) for stack in STACKS}
        for bundle in sorted(path.parents[1] for path in options.folder.glob("*/configs/metadata.json"))
        if options.only in bundle.name and is_segmentation(bundle)
    }
    names = ["+".join(stack) for stack in STACKS]
    print(f"| bundle | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for bundle, stacks in found.items():
        print(f"| {bundle} | {' | '.join(shown(stacks[name]) for name in names)} |")
    every = [
        (bundle, one) for bundle, stacks in found.items() for own in stacks.values() for one in own or ()
    ]
    for wanted in ("mistake", "package", NO_ALARM):
        lines = sorted({f"{bundle}: {one}" for bundle, one in every if kind(one) == wanted})
        print(f"\n{wanted}: {len(lines)}", *lines, sep="\n")
    append_line(
        RESULTS,
        {
            "commit": commit(),
            "source": options.source or source(options.folder),
            "command": "python benchmarks/zoo_check.py model-zoo/models",
            "machine": processor_name(),
            "processors": os.cpu_count(),
            "monai": version("monai"),
            "false_alarms": sum(kind(one) == NO_ALARM for _, one in every),
            "bundles": {
                bundle: {
                    name: dict(Counter(map(kind, own))) for name, own in stacks.items() if own is not None
                }
                for bundle, stacks in found.items()
            },
        },
    )


if __name__ == "__main__":
    main()
