"""How fast a scan and a cohort are segmented: `segpipe predict`, MONAI's own run and nnU-Net's command, side by side.

    python benchmarks/inference.py --dataset-dir DATASET_DIR --nnunet NNUNET --ct CT.nii.gz
    python benchmarks/inference.py --dataset-dir DATASET_DIR --size 48 --scans 2 --rounds 1       # does it run? minutes

DATASET_DIR holds imagesTr/*.nii.gz of the hippocampus set, NNUNET is bin/nnUNetv2_predict_from_modelfolder of an
environment with nnunetv2 2.8.1, CT.nii.gz any real CT; without the last two their rows are left out. Everything is on
the CPU, without mirroring, with the hippocampus bundle's window of 40 x 56 x 40 voxels, half of it overlapping, through
its DynUNet: with the shipped filters and weights, by which labels are compared, and with 32-64-128-256, whose weights
are untrained, by the clock alone. nnU-Net runs the same weights: its PlainConvUNet is the same network, each tensor put
under its name.

Label maps differ from nnU-Net's where windows that overlap disagree: it spreads windows evenly and weighs their borders
by less than MONAI's Gaussian does; with its places and weights the labels are the same to the last voxel.

The volume is tiled of scans, each brought to mean and deviation of its own. Commands are run in turn, each a process
with all of its start-up; what one scan of the set takes, taken off, is the time after it. A line is added to
results/inference.jsonl. Three rounds take half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle_runs import ROOT, append_line
from inference_memory import SEGPIPE, Finished, finished
from monai.networks.nets import DynUNet

from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.inference import choose_precision
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import read_header

RESULTS = Path(__file__).with_name("results") / "inference.jsonl"
BUNDLE = ROOT / "bundles" / "mri_hippocampus_unet"
WINDOW, OVERLAP, CLASSES = (40, 56, 40), 0.5, 3
SHARE_CUBE = 96
NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}
IMPORTS = {
    "segpipe --help": [SEGPIPE, "--help"],
    "imports of segpipe predict": [
        sys.executable,
        "-c",
        "import segpipe.prediction.estimate, segpipe.prediction.predict",
    ],
    "import monai.bundle": [sys.executable, "-c", "import monai.bundle"],
    "import torch": [sys.executable, "-c", "import torch"],
}


@dataclass(frozen=True)
class Network:
    """A DynUNet of the bundle.

    Attributes:
        name: in the table.
        filters: of its stages.
        weights: file of its state.
        trained: whether its labels mean anything.
    """

    name: str
    filters: tuple[int, ...]
    weights: Path
    trained: bool


Command = Callable[[Path, Path], Finished]
"""Segments a folder of scans into another."""


def networks(folder: Path, names: Sequence[str]) -> list[Network]:
    """Return the networks that are asked for; untrained weights are written into a folder."""
    shipped = Network("16-32-64-128", (16, 32, 64, 128), BUNDLE / "models" / "model.pt", trained=True)
    large = Network("32-64-128-256", (32, 64, 128, 256), folder / "large.pt", trained=False)
    torch.manual_seed(0)
    torch.save(dynunet(large.filters).state_dict(), large.weights)
    return [network for network in (shipped, large) if network.name in names]


def dynunet(filters: Sequence[int]) -> DynUNet:
    """Return the bundle's network."""
    return DynUNet(3, 1, CLASSES, [3] * 4, [1, 2, 2, 2], [2, 2, 2], filters=list(filters))


def by_segpipe(network: Network, precision: str) -> Command:
    """Return the command of `segpipe predict`."""

    def command(scans: Path, output: Path) -> Finished:
        given = [
            "--bundle",
            BUNDLE,
            "--weights",
            network.weights,
            "--set",
            f"filters={list(network.filters)}",
        ]
        how = ["--precision", precision, "--device", "cpu", "--output", output]
        return finished([SEGPIPE, "predict", scans, *given, *how])

    return command


def by_monai(network: Network, precision: str) -> Command:
    """Return MONAI's command for the same bundle."""

    def command(scans: Path, output: Path) -> Finished:
        run = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
        given = ["--weights", str([str(network.weights)]), "--filters", str(list(network.filters))]
        where = ["--dataset_dir", scans, "--output_dir", output, "--precision", precision]
        return finished([*run, *given, *where], cwd=BUNDLE, environment=NO_CARD)

    return command


def by_nnunet(network: Network, executable: Path, model: Path) -> Command:
    """Return nnU-Net's command for the same network, whose model folder is written."""
    write_nnunet_model(model, network)

    def command(scans: Path, output: Path) -> Finished:
        named = output.with_name(f"{output.name}_scans")  # nnU-Net wants channels numbered
        named.mkdir()
        for scan in scans.iterdir():
            (named / scan.name.replace(".nii.gz", "_0000.nii.gz")).symlink_to(scan)
        where = ["-i", named, "-o", output, "-m", model, "-f", "0"]
        how = ["-step_size", str(1 - OVERLAP), "--disable_tta", "-device", "cpu"]
        return finished([executable, *where, *how], environment=NO_CARD)

    return command


def write_nnunet_model(folder: Path, network: Network) -> None:
    """Write what nnU-Net's training leaves behind: plans, data set and the weights of one fold."""
    stages = len(network.filters)
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "none",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(WINDOW),
        "median_image_size_in_voxels": list(WINDOW),
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": resampling,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling,
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(network.filters),
                "conv_op": "torch.nn.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": False,
                "norm_op": "torch.nn.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"negative_slope": 0.01, "inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    plans = {
        "dataset_name": "Dataset001_Volumes",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [2, 1, 0],  # SimpleITK's z, y, x to the bundle's x, y, z
        "transpose_backward": [2, 1, 0],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }
    dataset = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "fold_0").mkdir(parents=True)
    for name, content in (("plans", plans), ("dataset", dataset)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    checkpoint = {
        "network_weights": plain_conv_unet_state(torch.load(network.weights, weights_only=True), stages),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def plain_conv_unet_state(state: Mapping[str, torch.Tensor], stages: int) -> dict[str, torch.Tensor]:
    """Return a DynUNet's weights under the names of nnU-Net's PlainConvUNet, where many stand twice."""
    down = ["input_block", *(f"downsamples.{index}" for index in range(stages - 2)), "bottleneck"]
    renamed = {"output_block.conv.conv": [f"decoder.seg_layers.{stages - 2}"]}
    for stage, block in enumerate(down):
        encoder = f"encoder.stages.{stage}.0"
        renamed |= _blocks(block, [encoder, f"decoder.{encoder}"])
    for stage in range(stages - 1):
        renamed[f"upsamples.{stage}.transp_conv.conv"] = [f"decoder.transpconvs.{stage}"]
        renamed |= _blocks(f"upsamples.{stage}.conv_block", [f"decoder.stages.{stage}"])
    named = {
        f"{name}.{kind}": state[f"{module}.{kind}"]
        for module, names in renamed.items()
        for kind in ("weight", "bias")
        if f"{module}.{kind}" in state
        for name in names
    }
    for stage in range(stages - 2):  # of deep supervision, and not run
        features = state[f"upsamples.{stage}.conv_block.norm2.weight"].numel()
        named[f"decoder.seg_layers.{stage}.weight"] = torch.zeros(CLASSES, features, 1, 1, 1)
        named[f"decoder.seg_layers.{stage}.bias"] = torch.zeros(CLASSES)
    return named


def _blocks(block: str, stages: Sequence[str]) -> dict[str, list[str]]:
    """Return the modules of a block of two convolutions, and their names in nnU-Net's stages."""
    return {
        f"{block}.{module}{index + 1}{'.conv' if module == 'conv' else ''}": [
            f"{stage}.convs.{index}.{name}"
            for stage in stages
            for name in (module, f"all_modules.{position}")
        ]
        for index in range(2)
        for position, module in enumerate(("conv", "norm"))
    }


def tiled(scans: Sequence[Path], size: int) -> np.ndarray:
    """Return a cube of real scans side by side, each brought to mean 1000 and deviation 200, int16 above 0.

    nnU-Net crops what is 0 at the borders.
    """
    cells = [math.ceil(size / length) for length in WINDOW]
    volume = np.empty([cell * length for cell, length in zip(cells, WINDOW, strict=True)], np.int16)
    for number, cell in enumerate(np.ndindex(*cells)):
        scan = np.asarray(nibabel.load(scans[number % len(scans)]).dataobj, np.float64)
        missing = [max(length - have, 0) for length, have in zip(WINDOW, scan.shape, strict=True)]
        scan = np.pad(scan, [(gap // 2, gap - gap // 2) for gap in missing], mode="reflect")
        first = [(have - length) // 2 for have, length in zip(scan.shape, WINDOW, strict=True)]
        scan = scan[tuple(slice(begin, begin + length) for begin, length in zip(first, WINDOW, strict=True))]
        place = tuple(slice(index * n, (index + 1) * n) for index, n in zip(cell, WINDOW, strict=True))
        volume[place] = (1000 + 200 * (scan - scan.mean()) / scan.std()).clip(1, 32767).round()
    return volume[:size, :size, :size]


def write_inputs(folder: Path, scans: Sequence[Path], size: int, cohort: int) -> dict[str, Path]:
    """Write a folder of scans for each question."""
    folders = {name: folder / name for name in ("volume", "one", "cohort")}
    for place in folders.values():
        place.mkdir()
    nibabel.save(nibabel.Nifti1Image(tiled(scans, size), np.eye(4)), folders["volume"] / "volume.nii.gz")
    for name, count in (("one", 1), ("cohort", cohort)):
        for scan in scans[:count]:
            (folders[name] / scan.name).write_bytes(scan.read_bytes())
    return folders


def label_maps(output: Path) -> dict[str, np.ndarray]:
    """Return the label maps in a folder of outputs, by name."""
    return {path.name: np.asarray(nibabel.load(path).dataobj) for path in sorted(output.glob("*.nii.gz"))}


def equal(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the share of voxels that label maps agree in, of all and of those that either calls foreground."""
    pairs = [(first[name], second[name]) for name in first]
    agree = sum(int((one == other).sum()) for one, other in pairs)
    foreground = sum(int(((one > 0) | (other > 0)).sum()) for one, other in pairs)
    different = sum(one.size for one, _ in pairs) - agree
    return {
        "all": agree / sum(one.size for one, _ in pairs),
        "foreground": 1 - different / max(foreground, 1),
    }


def compare(
    commands: Mapping[str, Command], inputs: Mapping[str, Path], folder: Path, rounds: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, dict[str, np.ndarray]]]]:
    """Run every command on every folder of scans, in turn; return seconds, and the last round's label maps."""
    seconds: dict[str, dict[str, list[float]]] = {
        name: {question: [] for question in inputs} for name in commands
    }
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {name: {} for name in commands}
    for number in range(rounds):
        for question, scans in inputs.items():
            for position, (name, command) in enumerate(commands.items()):
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    output = Path(place) / "output"
                    done = command(scans, output).require_success()
                    maps = label_maps(output)
                missing = {path.name for path in scans.iterdir()} - set(maps)
                if missing:
                    raise SystemExit(f"{name}: no label map for {', '.join(sorted(missing))}:\n{done.said}")
                seconds[name][question].append(done.seconds)
                found[name][question] = maps
                said = f"round {number + 1}, {question}, {position + 1} of {len(commands)}: {name}"
                print(f"{said} {done.seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds, found


def compared(
    network: Network, commands: Mapping[str, Command], inputs: Mapping[str, Path], folder: Path, rounds: int
) -> list[dict[str, Any]]:
    """Return a row for each command, and print them."""
    seconds, maps = compare(commands, inputs, folder, rounds)
    reference = next(iter(commands))
    rows = []
    for name, questions in seconds.items():
        medians = {question: statistics.median(times) for question, times in questions.items()}
        rows.append(
            {
                "run": name,
                "network": network.name,
                "seconds": {question: round(median, 2) for question, median in medians.items()},
                "rounds": {question: [round(t, 2) for t in times] for question, times in questions.items()},
                "after_start_up": round(medians["volume"] - medians["one"], 2),
                "equal_labels": {
                    question: equal(maps[name][question], maps[reference][question])
                    for question in (("volume", "cohort") if network.trained else ())
                },
            }
        )
    print(f"\n{network.name}, {'shipped' if network.trained else 'untrained'} weights\n")
    columns = ["run", "volume, s", "after start-up, s", f"times {reference}", "one scan, s", "cohort, s"]
    columns += [f"equal labels, {question} (of foreground)" for question in ("volume", "cohort")]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        whole = row["seconds"]
        cells = [
            row["run"],
            f"{whole['volume']:.1f}",
            f"{row['after_start_up']:.1f}",
            f"{whole['volume'] / rows[0]['seconds']['volume']:.2f}",
            f"{whole['one']:.1f}",
            f"{whole['cohort']:.1f}" if "cohort" in whole else "-",
            *(f"{agree['all']:.3%} ({agree['foreground']:.2%})" for agree in row["equal_labels"].values()),
        ]
        print(f"| {' | '.join([*cells, '-', '-'][: len(columns)])} |")
    return rows


def import_seconds(rounds: int) -> dict[str, float]:
    """Return what starting and importing take, and print it."""
    medians = {
        name: statistics.median(finished(command).require_success().seconds for _ in range(rounds))
        for name, command in IMPORTS.items()
    }
    print("\n| start-up | seconds |\n|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} |")
    return {name: round(median, 3) for name, median in medians.items()}


@contextmanager
def timed_forward(network: torch.nn.Module) -> Iterator[list[float]]:
    """Count the seconds that a network, or a copy of it, spends in its forward."""
    spent: list[float] = []  # hooks go with copies, and a list in a closure is not copied
    began: list[float] = []
    hooks = [
        network.register_forward_pre_hook(lambda *_: began.append(time.perf_counter())),
        network.register_forward_hook(lambda *_: spent.append(time.perf_counter() - began.pop())),
    ]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def prepared(bundle: OpenBundle, segmenter: Segmenter, scan: Path) -> Any:
    """Return a scan as a network gets it."""
    return segmenter.prepare(bundle.read(scan))


def own_share(network: Network, scan: Path, precision: str) -> dict[str, Any]:
    """Return what segmenting takes outside of the network's forward, as a share of what it takes in it."""
    bundle = open_bundle(
        BundleSource(
            BUNDLE, weights=[network.weights], overrides={"filters": list(network.filters)}, device="cpu"
        )
    )
    with timed_forward(bundle.network) as spent:
        segmenter = Segmenter(bundle, precision)
        since = time.perf_counter()
        image = prepared(bundle, segmenter, scan)
        preparing = time.perf_counter() - since
        segmenter.cost(image)  # chooses the precision, and warms up
        spent.clear()
        since = time.perf_counter()
        done = segmenter.segment(image, read_header(scan).grid)
        whole = time.perf_counter() - since
    inside = sum(spent)
    return {
        "network": network.name,
        "precision": segmenter.precision,
        "size": list(image.shape[1:]),
        "windows": done.windows,
        "network_s": round(inside, 3),
        "own_s": round(whole - inside, 3),
        "reading_s": round(preparing, 3),
        "share": round((whole - inside) / inside, 4),
        "share_with_reading": round((whole - inside + preparing) / inside, 4),
    }


def shares(found: Sequence[Network], scans: Sequence[Path], size: int, folder: Path) -> list[dict[str, Any]]:
    """Return the share of our own code for cubes of two sizes and each precision, and print it."""
    precisions = ["float32"] if reduced() == "float32" else ["float32", "auto"]
    cubes = {}
    for length in sorted({min(SHARE_CUBE, size), size}):
        cubes[length] = folder / f"cube_{length}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(tiled(scans, length), np.eye(4)), cubes[length])
    rows = [
        own_share(network, cube, precision)
        for network in found
        for cube in cubes.values()
        for precision in precisions
    ]
    print(
        "\n| cube | network | precision | windows | in the network, s | outside, s | share | with reading |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['size'][0]} | {row['network']} | {row['precision']} | {row['windows']} | {row['network_s']:.2f} | "
            f"{row['own_s']:.2f} | {row['share']:.1%} | {row['share_with_reading']:.1%} |"
        )
    return rows


def tissue_rule(ct: Path, root: Path, least: float) -> dict[str, Any]:
    """Return what leaving out empty windows of a CT spares and changes, and print it."""
    bundle = open_bundle(BundleSource(root, device="cpu"))
    grid = read_header(ct).grid
    image = prepared(bundle, Segmenter(bundle), ct)
    done, seconds = {}, {}
    for share in (None, least):
        segmenter = Segmenter(bundle, "float32", skip_empty=share)
        segmenter.cost(image)
        since = time.perf_counter()
        done[share] = segmenter.segment(image, grid)
        seconds[share] = time.perf_counter() - since
    every, some = done[None], done[least]
    row = {
        "bundle": root.name,
        "ct": ct.name,
        "skip_empty": least,
        "size": list(grid.size),
        "windows": every.windows,
        "skipped": some.skipped,
        "seconds": round(seconds[None], 2),
        "seconds_with_rule": round(seconds[least], 2),
        "labels_changed": float(np.mean(every.labels != some.labels)),
    }
    print(f"\nwindows below {least} of the intensities left out: {ct.name} through {root.name}\n")
    print(
        "| size | windows | left out | seconds | with the rule | labels changed |\n|---|---|---|---|---|---|"
    )
    print(
        f"| {' x '.join(map(str, grid.size))} | {every.windows} | {some.skipped} | {row['seconds']:.1f} | "
        f"{row['seconds_with_rule']:.1f} | {row['labels_changed']:.4%} |"
    )
    return row


def reduced() -> str:
    """Return the precision that this processor is faster in, if any."""
    return str(choose_precision("auto", torch.device("cpu"))).removeprefix("torch.")


def nnunet_version(executable: Path) -> str:
    """Return the version of the nnU-Net whose command this is."""
    command = "import importlib.metadata; print(importlib.metadata.version('nnunetv2'))"
    python = [executable.with_name("python"), "-c", command]
    return subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure all that is asked for, print the tables and add a line to the results."""
    arguments = parse_arguments()
    version = commit(ROOT / "segpipe")  # before the result changes a tracked file
    scans = sorted((arguments.dataset_dir / "imagesTr").glob("*.nii.gz"))
    if len(scans) < arguments.scans:
        raise SystemExit(
            f"{arguments.dataset_dir}: {len(scans)} scans in imagesTr, must be {arguments.scans}"
        )
    with tempfile.TemporaryDirectory(dir=arguments.scratch_dir) as name:
        folder = Path(name)
        found = networks(folder, arguments.networks)
        inputs = write_inputs(folder, scans, arguments.size, arguments.scans)
        rows = []
        for network in found:
            commands = {
                "segpipe": by_segpipe(network, "auto"),
                "MONAI, float32": by_monai(network, "float32"),
            }
            if reduced() != "float32":
                commands["segpipe, float32"] = by_segpipe(network, "float32")
                commands[f"MONAI, {reduced()} autocast"] = by_monai(network, "auto")
            if arguments.nnunet is not None:
                model = folder / f"nnunet_{network.name}"
                commands["nnU-Net"] = by_nnunet(network, arguments.nnunet, model)
            questions = inputs if network.trained else {key: inputs[key] for key in ("volume", "one")}
            rows += compared(network, commands, questions, folder, arguments.rounds)
        line = {
            "rows": rows,
            "start_up": import_seconds(arguments.rounds),
            "shares": shares(found, scans, arguments.size, folder),
            "tissue": None
            if arguments.ct is None
            else tissue_rule(arguments.ct, arguments.ct_bundle, arguments.skip_empty),
        }
    append_line(arguments.results, {**line, **about(arguments), "commit": version})


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the results depend on."""
    given = f"--size {arguments.size} --scans {arguments.scans} --rounds {arguments.rounds}"
    given += f" --networks {' '.join(arguments.networks)}"
    given += "" if arguments.nnunet is None else " --nnunet NNUNET"
    given += (
        ""
        if arguments.ct is None
        else f" --ct CT --ct-bundle {arguments.ct_bundle.name} --skip-empty {arguments.skip_empty}"
    )
    return {
        "window": WINDOW,
        "overlap": OVERLAP,
        "reduced_precision": reduced(),
        "nnunet": None if arguments.nnunet is None else nnunet_version(arguments.nnunet),
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "command": f"python benchmarks/inference.py --dataset-dir DATASET_DIR {given}",
    }


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument(
        "--nnunet", type=Path, help="nnUNetv2_predict_from_modelfolder, in its environment's bin"
    )
    parser.add_argument("--ct", type=Path, help="for the rule that leaves out empty windows")
    parser.add_argument(
        "--ct-bundle", type=Path, default=BUNDLE, help="whose labels are compared; default: the hippocampus"
    )
    parser.add_argument(
        "--skip-empty", type=float, default=0.2, help="the share of the intensities that a window must reach"
    )
    names = ["16-32-64-128", "32-64-128-256"]
    parser.add_argument("--networks", nargs="+", default=names, choices=names)
    parser.add_argument("--size", type=int, default=160, help="voxels of the cube's side")
    parser.add_argument("--scans", type=int, default=23, help="of the cohort")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch-dir", type=Path, help="of scans and label maps; default: the system's")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for name in ("nnunet", "ct", "ct_bundle"):
        path = getattr(arguments, name)
        if path is not None:
            setattr(arguments, name, path.absolute())
    return arguments


if __name__ == "__main__":
    main()
