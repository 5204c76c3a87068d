"""What `segpipe audit` finds in the bundles of others, and how much of it is a false alarm.

    python benchmarks/audit.py model-zoo/models

The folder holds bundles, such as a clone of github.com/Project-MONAI/model-zoo. Of each bundle its inference and its
training configuration are audited; nothing is run. A finding counts as

- code: the bundle brings Python modules, or names one of them;
- pickles: it reads a file in a way that can run code (`torch.load` without `weights_only`, pickled caches);
- writes: it writes outside the bundle's folder, or where cannot be told without running it;
- downloads: it fetches pretrained weights;
- false alarm: anything else, which was looked through and does nothing but compute, or read data.

A Markdown table is printed; the counts go to results/audit.jsonl.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from bundle_runs import append_line, source

from segpipe.admission.gate import audit
from segpipe.configuration.finding import ConfigFinding
from segpipe.errors import SegpipeError
from segpipe.provenance import commit

RESULTS = Path(__file__).with_name("results") / "audit.jsonl"
KINDS = {
    "code": ("can be imported as code", "scripts", "is named like"),
    "pickles": ("torch.load", "PersistentDataset", "'pickle'", "calls open"),
    "writes": ("is written", "save_dir", "data_root_dir", "LogfileHandler", "writes to the file"),
    "downloads": ("pretrained", "FlexibleUNet", "TorchVisionFCModel", "CellSamWrapper"),
}
NO_ALARM = "false alarm"


def kind(finding: ConfigFinding) -> str:
    """Return what a finding counts as."""
    text = str(finding)
    return next((name for name, parts in KINDS.items() if any(part in text for part in parts)), NO_ALARM)


def counts(bundle: Path, name: str) -> Counter[str] | None:
    """Return how many findings of each kind a configuration has; None where there is none."""
    files = [bundle / "configs" / f"{name}.{suffix}" for suffix in ("yaml", "yml", "json")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    try:
        found = audit(bundle, [file], logging_file=bundle / "configs" / "logging.conf")
    except SegpipeError as error:
        print(f"{bundle.name}: {error}")
        return Counter({"cannot be read": 1})
    return Counter(map(kind, found))


def shown(found: Counter[str] | None) -> str:
    """Return the cell of a table."""
    if found is None:
        return "-"
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "passes"


def main() -> None:
    """Audit every bundle of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of bundles")
    parser.add_argument("--only", default="", help="bundles whose names hold this")
    parser.add_argument("--source", help="commit of the bundles, where the folder is no repository")
    options = parser.parse_args()
    bundles = sorted(
        path.parents[1]
        for path in options.folder.glob("*/configs/metadata.json")
        if options.only in path.parents[1].name
    )
    print("| bundle | inference | training |\n|---|---|---|")
    results = {}
    for bundle in bundles:
        found = {name: counts(bundle, name) for name in ("inference", "train")}
        results[bundle.name] = {name: own for name, own in found.items() if own is not None}
        print(f"| {bundle.name} | {shown(found['inference'])} | {shown(found['train'])} |")
    append_line(
        RESULTS,
        {
            "commit": commit(),
            "source": options.source or source(options.folder),
            "bundles": results,
        },
    )


if __name__ == "__main__":
    main()
