"""How fast a scan and a cohort are segmented: `segpipe predict`, MONAI's own run and nnU-Net's command, side by side.

    python benchmarks/inference.py --question volume --dataset-dir DATASET_DIR --nnunet NNUNET
    python benchmarks/inference.py --question cohort --scans 200 --dataset-dir DATASET_DIR --nnunet NNUNET
    python benchmarks/inference.py --question slices --slices-dir SLICES_DIR
    python benchmarks/inference.py --question volume --busy 1 ...          # beside one other busy process
    python benchmarks/inference.py                                         # prints the tables of what is done
    python benchmarks/inference.py --question volume --size 48 --rounds 1 ...    # does it run? minutes

DATASET_DIR holds imagesTr/*.nii.gz of the hippocampus set, SLICES_DIR images/*.mhd of the lung set, NNUNET is
bin/nnUNetv2_predict_from_modelfolder of an environment with nnunetv2 2.8.1; without NNUNET its row is left out. Each
row is a whole command in a process of its own, start-up and writing included, on the CPU; rows are run in turn, and
the tables show medians of the rounds.

- volume: a cube tiled of scans, each brought to mean and deviation of its own, in windows of 40 x 56 x 40 voxels, half
  of it overlapping, through the hippocampus bundle's DynUNet (`--networks`: as shipped, or of twice the channels,
  untrained unless --large-weights names trained ones);
- one: one scan of the set; cohort: `--scans` of them, through the same networks, without mirroring;
- slices: `--scans` slices of 512 x 512 through the lung bundle, which mirrors; the set's 82, and some of them twice.

nnU-Net runs the same weights: its PlainConvUNet is the same network. Its label maps differ where windows that overlap
disagree: it spreads windows evenly and weighs their borders by less than MONAI's Gaussian does. Labels of each row are
compared with those of PyTorch in float32. segpipe's cache is empty before the first round; later rounds use what the
first one measured and converted. Memory is of the command's own process; nnU-Net's has others beside. Each row is a
line of results/inference.jsonl; the tables are of the lines of the last commit and processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import ROOT, append_line, read_lines
from inference_commands import (
    NNUNET,
    REFERENCE,
    ROWS,
    USUAL_ROWS,
    Command,
    busy,
    commands,
    instructions,
)
from inference_inputs import lung_network, networks, write_cohort, write_cube, write_slices
from label_agreement import Agreement, agreement
from nnunet_model import nnunet_version

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import read_volume

RESULTS = Path(__file__).with_name("results") / "inference.jsonl"
NAMES = ("16-32-64-128", "32-64-128-256")
MONAI = "MONAI, float32"
AIMS = {  # question and network -> times as fast as nnU-Net, and as MONAI's own run in float32
    ("volume 160", "16-32-64-128"): (3.0, 1.7),
    ("volume 160", "32-64-128-256"): (2.0, 1.3),
    ("cohort 23", "16-32-64-128"): (1.7, None),
    ("cohort 200", "16-32-64-128"): (3.0, None),
    ("slices 100", "lung U-Net"): (None, 1.5),
}
_SUFFIXES = (".nii.gz", ".mhd", ".mha", ".nrrd")


def label_maps(output: Path) -> dict[str, np.ndarray]:
    """Return the label maps in a folder of outputs, by the name of their scan."""
    files = [path for path in sorted(output.iterdir()) if path.name.endswith(_SUFFIXES)]
    return {path.name.partition(".")[0]: read_volume(path).array for path in files}


def way_of(output: Path) -> str:
    """Return engine and precision of a folder of segpipe's outputs; empty for those of other programs."""
    ledger = output / "predictions.jsonl"
    if not ledger.exists():
        return ""
    ways = {f"{row['engine']} {row['precision']}" for row in read_lines(ledger) if row["state"] == "done"}
    return ", ".join(sorted(ways))


def compare(
    of: Mapping[str, Command], scans: Path, classes: int, folder: Path, rounds: int
) -> list[dict[str, Any]]:
    """Run every command on a folder of scans, in turn; return a row for each.

    Args:
        of: the commands by name, PyTorch's in float32 among them.
        scans: a folder.
        classes: number of the network's classes.
        folder: for outputs.
        rounds: number of times.
    """
    names = sorted(of, key=lambda name: name != REFERENCE)
    wanted = {path.name.partition(".")[0] for path in scans.iterdir()}
    runs: dict[str, list[Any]] = {name: [] for name in names}
    agreements: dict[str, Agreement] = {}
    ways: dict[str, str] = {}
    exact: dict[str, np.ndarray] = {}
    for number in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                output = Path(place) / "output"
                done = of[name](scans, output).require_success()
                maps = label_maps(output)
                if missing := wanted - set(maps):
                    raise SystemExit(f"{name}: no label map for {', '.join(sorted(missing))}:\n{done.said}")
                ways[name] = way_of(output)
            exact = exact or maps
            agreements[name] = agreement(maps, exact, classes)
            runs[name].append(done)
            print(f"round {number + 1}: {name} {done.seconds:.1f} s", file=sys.stderr, flush=True)
    return [
        {
            "run": name,
            "way": ways[name],
            "seconds": [round(run.seconds, 2) for run in runs[name]],
            "processor_s": [round(run.processor_s, 2) for run in runs[name]],
            "peak_gb": round(max(run.peak_bytes for run in runs[name]) / 1e9, 3),
            **asdict(agreements[name]),
        }
        for name in names
    ]


def measure(arguments: argparse.Namespace) -> None:
    """Measure one question with all networks that are asked for; add a line for each row."""
    question = arguments.question
    about = {
        "question": f"{question} {arguments.size if question == 'volume' else arguments.scans}",
        "busy": arguments.busy,
        "nnunet": None if arguments.nnunet is None else nnunet_version(arguments.nnunet),
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "instructions": instructions(),
        "commit": commit(ROOT / "segpipe"),  # before the result changes a tracked file
    }
    with tempfile.TemporaryDirectory(dir=arguments.scratch_dir) as name, busy(arguments.busy):
        folder = Path(name)
        inputs = folder / "scans"
        if question == "slices":
            write_slices(inputs, listed(arguments.slices_dir, "images/*.mhd", 1), arguments.scans)
            found = [lung_network()]
        else:
            needed = arguments.scans if question == "cohort" else 1
            scans = listed(arguments.dataset_dir, "imagesTr/*.nii.gz", needed)
            if question == "volume":
                write_cube(inputs, scans, arguments.size)
            else:
                write_cohort(inputs, scans, arguments.scans)
            found = [
                each for each in networks(folder, arguments.large_weights) if each.name in arguments.networks
            ]
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        for network in found:
            of = commands(network, rows_of(arguments), arguments.nnunet, folder, environment)
            classes = 4 if question == "slices" else 3
            for row in compare(of, inputs, classes, folder, arguments.rounds):
                line = {**about, "network": network.name, "trained": network.trained, **row}
                append_line(arguments.results, line)


def listed(folder: Path | None, pattern: str, needed: int) -> list[Path]:
    """Return the files of a data set.

    Raises:
        SystemExit: no folder was given, or it holds too few.
    """
    if folder is None:
        raise SystemExit(f"give the folder that holds {pattern}: --dataset-dir, or --slices-dir for slices")
    files = sorted(folder.absolute().glob(pattern))
    if len(files) < needed:
        raise SystemExit(f"{folder}: {len(files)} files {pattern}, must be at least {needed}")
    return files


def rows_of(arguments: argparse.Namespace) -> list[str]:
    """Return the rows that are asked for; the reference is always one."""
    return list(dict.fromkeys(["torch-float32", *arguments.rows, *(["int8"] if arguments.int8 else [])]))


def print_tables(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each question, network and load, of the last commit and processor."""
    new = [line for line in lines if "question" in line]  # older lines have another form
    if not new:
        raise SystemExit("nothing is measured yet; see --help")
    last = new[-1]
    new = [line for line in new if (_code(line), line["machine"]) == (_code(last), last["machine"])]
    sets = ", ".join(last["instructions"]) or "none of AVX2, AVX-512 and AMX"
    print(f"{last['machine']} ({sets}), {last['threads']} threads, commit {_code(last)}")
    tables: dict[tuple[str, str, int], dict[str, Mapping[str, Any]]] = {}
    for line in new:  # a later line of the same row counts
        tables.setdefault((line["question"], line["network"], line["busy"]), {})[line["run"]] = line
    for (question, network, load), rows in sorted(tables.items()):
        print_table(question, network, load, rows)


def _code(line: Mapping[str, Any]) -> str:
    """Return the commit of a line, whether or not results were added to it."""
    return str(line["commit"]).removesuffix("-dirty")


def print_table(question: str, network: str, load: int, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the rows of one question, and whether the aims are met."""
    medians = {name: statistics.median(row["seconds"]) for name, row in rows.items()}
    beside = f", beside {load} busy process{'es' if load > 1 else ''}" if load else ""
    print(f"\n{question}, {network}{beside}\n")
    columns = ["run", "seconds (rounds)", "processor s", f"times {NNUNET}", f"times {MONAI}", "peak, GB"]
    columns += ["labels equal, of all", "of foreground", "least Dice of a class", "equal"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, row in rows.items():
        times = [
            f"{medians[other] / medians[name]:.2f}" if other in medians else "-" for other in (NNUNET, MONAI)
        ]
        cells = [
            f"{name} ({row['way']})" if name == ROWS["auto"] else name,
            f"{medians[name]:.1f} ({', '.join(f'{one:.1f}' for one in row['seconds'])})",
            f"{statistics.median(row['processor_s']):.1f}",
            *times,
            f"{row['peak_gb']:.2f}",
            *(
                [f"{row['all']:.4%}", f"{row['foreground']:.3%}", f"{row['least_dice']:.4f}"]
                if row["trained"]
                else ["untrained", "-", "-"]
            ),
            "-" if not row["trained"] else "yes" if row["equal"] else "**no**",
        ]
        print(f"| {' | '.join(cells)} |")
    ours = medians.get(ROWS["auto"])
    for other, aim in zip((NNUNET, MONAI), AIMS.get((question, network), (None, None)), strict=True):
        if ours and aim and other in medians:
            reached = medians[other] / ours
            print(f"\n{other}: {reached:.2f} times, aim {aim}: {'met' if reached >= aim else '**missed**'}")


def main() -> None:
    """Measure what is asked for and print the tables."""
    arguments = parse_arguments()
    if arguments.question:
        measure(arguments)
    print_tables(read_lines(arguments.results))


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--question", choices=("volume", "one", "cohort", "slices"))
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--slices-dir", type=Path)
    parser.add_argument(
        "--nnunet", type=Path, help="nnUNetv2_predict_from_modelfolder, in its environment's bin"
    )
    parser.add_argument("--networks", nargs="+", default=[NAMES[0]], choices=NAMES)
    parser.add_argument("--large-weights", type=Path, help="trained, of the network 32-64-128-256")
    parser.add_argument("--rows", nargs="+", default=list(USUAL_ROWS), choices=list(ROWS))
    parser.add_argument("--int8", action="store_true", help="also --precision int8, where the bundle has it")
    parser.add_argument("--busy", type=int, default=0, help="other processes that compute meanwhile")
    parser.add_argument("--size", type=int, default=160, help="voxels of the cube's side")
    parser.add_argument("--scans", type=int, help="of the cohort; default: 23, or 100 slices")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch-dir", type=Path, help="of scans and label maps; default: the system's")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.scans is None:
        arguments.scans = {"slices": 100, "one": 1}.get(arguments.question, 23)
    for name in ("nnunet", "large_weights"):
        path = getattr(arguments, name)
        if path is not None:
            setattr(arguments, name, path.absolute())
    return arguments


if __name__ == "__main__":
    main()
