"""`segpipe.predict` with another engine than PyTorch: the ledger, the next run, refusals, and the label maps."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cohort_files import DONE, SKIPPED, entries, outcomes
from segmenter_chains import WARNINGS_OF_MONAI
from tiny_bundle import contents, write_scan, write_scans
from without_sockets import WITHOUT_SOCKETS

from segpipe.errors import SegpipeError
from segpipe.inference.engines import choice, names
from segpipe.inference.engines.engine import WindowQueue
from segpipe.prediction import cohort, cohort_way
from segpipe.volumes import read_volume

pytestmark = WARNINGS_OF_MONAI
needs_openvino = pytest.mark.skipif(not names.is_installed("openvino"), reason="openvino is not installed")


@pytest.fixture
def queued(monkeypatch):
    """Replace OpenVINO by PyTorch in a queue; return the list of the ways that were opened."""
    opened = []

    class Queue(WindowQueue):
        at_once = 3

        def __init__(self, job):
            self.network = job.network

        def start(self, window):
            return lambda: self.network(window)

    def of(job, way):
        opened.append(way)
        return Queue(job)

    monkeypatch.setattr(choice, "_open", of)
    return opened


def by_engine(folder):
    return {case: (entry.get("engine"), entry["precision"]) for case, entry in entries(folder).items()}


def test_the_ledger_has_the_engine_and_labels_are_those_of_pytorch(run, scans, out, clean, queued):
    run(scans, engine="openvino")

    assert set(by_engine(out).values()) == {("openvino", "float32")}
    assert len(queued) == 1
    maps = {name for name in clean if name.endswith(".nii.gz")}
    assert len(maps) == 3
    assert all(contents(out)[name] == clean[name] for name in maps)


def test_a_cohort_keeps_its_engine(run, scans, out, queued, monkeypatch):
    """The first run chose OpenVINO; the next one, of more scans, does not choose again."""
    settled = choice.EngineChoice._settled
    monkeypatch.setattr(
        choice.EngineChoice, "_settled", lambda self, *_, **__: choice.Way("openvino", "float32")
    )
    run(scans)
    monkeypatch.setattr(choice.EngineChoice, "_settled", settled)
    write_scan(scans / "more.nii.gz", 9)

    assert outcomes(run(scans)) == {SKIPPED: 3, DONE: 1}
    assert set(by_engine(out).values()) == {("openvino", "float32")}


def test_a_cohort_keeps_its_threads_a_window(run, scans, out, queued, monkeypatch):
    """The first run has eight cores, the next one a single core."""
    monkeypatch.setattr(choice, "usable_threads", lambda: 8)
    run(scans, engine="openvino", batch_size=2)
    jobs, opening = [], choice._open
    monkeypatch.setattr(choice, "_open", lambda job, way: jobs.append(job) or opening(job, way))
    monkeypatch.setattr(choice, "usable_threads", lambda: 1)
    write_scan(scans / "more.nii.gz", 9)

    run(scans, engine="openvino", batch_size=4)

    assert [(job.streams, job.threads_a_window) for job in jobs] == [(1, 4)]
    assert {entry["threads"] for entry in entries(out).values()} == {4}


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_cohort_keeps_the_threads_of_pytorch(run, scans, out, queued, monkeypatch, engine):
    """They preprocess the scans, too: a mean over many voxels depends on their number."""
    numbers, before = [], torch.get_num_threads()
    prepare = cohort.prepare_image
    monkeypatch.setattr(
        cohort,
        "prepare_image",
        lambda *of, **how: numbers.append(torch.get_num_threads()) or prepare(*of, **how),
    )
    monkeypatch.setattr(cohort_way, "usable_threads", lambda: 3)
    run(scans, engine=engine)
    monkeypatch.setattr(cohort_way, "usable_threads", lambda: 1)
    write_scan(scans / "more.nii.gz", 9)

    run(scans, engine=engine)

    assert numbers == [3] * 4
    assert {entry["torch_threads"] for entry in entries(out).values()} == {3}
    assert torch.get_num_threads() == before
    log = (out / "predict.log").read_text()
    assert log.count("PyTorch computes with 3 threads on 1 usable cores, as for the earlier scans") == 1


def test_a_cohort_keeps_its_batch(run, scans, out):
    run(scans, batch_size=3)
    for more, options in enumerate(({}, {"batch_size": 3}, {"batch_size": 2})):
        write_scan(scans / f"more_{more}.nii.gz", more)
        assert outcomes(run(scans, **options))[DONE] == 1

    sizes = {case: entry["batch_size"] for case, entry in entries(out).items()}
    assert [sizes[f"more_{more}"] for more in range(3)] == [3, 3, 2]
    log = (out / "predict.log").read_text()
    assert log.count("--batch-size 2: the earlier scans were computed in batches of 3; the last digits") == 1


@pytest.mark.slow
def test_a_cohort_has_the_same_bytes_however_it_is_split(run, tmp_path, monkeypatch):
    """One run of four scans, or one of two scans and another of all on another number of cores.

    A scan has more voxels than PyTorch sums up in one thread, 32768.
    """
    scans = [write_scan(tmp_path / "all" / f"scan_{index}.nii.gz", index, (48, 48, 40)) for index in range(4)]
    maps = []
    for name, runs in {"one": [(3, scans)], "two": [(3, scans[:2]), (1, scans)]}.items():
        for threads, given in runs:
            for module in (choice, cohort_way):
                monkeypatch.setattr(module, "usable_threads", lambda threads=threads: threads)
            run(given, tmp_path / name, engine="torch", probabilities=True)
        maps.append(contents(tmp_path / name))
    assert len(maps[0]) > 8
    assert maps[0] == maps[1]


@pytest.mark.slow
@needs_openvino
def test_the_number_of_cores_and_the_batch_change_no_bit(run, scans, tmp_path, monkeypatch):
    maps = []
    for threads, batch_size in ((1, 1), (2, 2), (2, 4)):
        monkeypatch.setattr(choice, "usable_threads", lambda threads=threads: threads)
        folder = tmp_path / f"{threads} of {batch_size}"
        run(scans, folder, engine="openvino", batch_size=batch_size, probabilities=True)
        assert {entry["threads"] for entry in entries(folder).values()} == {1}
        maps.append({name: data for name, data in contents(folder).items() if name.endswith(".npy")})

    assert len(maps[0]) == 3
    assert maps[0] == maps[1] == maps[2]


def test_a_cohort_of_an_earlier_segpipe_stays_with_pytorch(run, scans, out, queued):
    """Earlier ledgers have no engine; the recipe of `--engine auto` is what it was."""
    run(scans)
    ledger = out / "predictions.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert {row.pop("engine") for row in rows} == {"torch"}
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_scan(scans / "more.nii.gz", 9)

    assert outcomes(run(scans)) == {SKIPPED: 3, DONE: 1}
    assert by_engine(out).pop("more") == ("torch", "float32")


def test_another_engine_computes_anew(run, scans, out, queued):
    run(scans)

    assert outcomes(run(scans, engine="openvino")) == {DONE: 3}
    assert outcomes(run(scans, engine="openvino")) == {SKIPPED: 3}


def test_an_engine_that_is_gone_is_no_reason_for_another_one(run, scans, out, queued, monkeypatch):
    monkeypatch.setattr(
        choice.EngineChoice, "_settled", lambda self, *_, **__: choice.Way("openvino", "float32")
    )
    run(scans)
    assert set(outcomes(run(scans))) == {SKIPPED}
    (out / "scan_001.nii.gz").unlink()
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(
        SegpipeError,
        match=r"out: its scans were computed with openvino, and a cohort keeps its engine: .* run: pip install "
        r"openvino, or give --engine torch, which computes all scans again",
    ):
        run(scans)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fast",
            "--engine is 'fast'; must be auto or one of torch, torch-compile, openvino, onnxruntime, tensorrt",
        ),
        (
            "openvino",
            r"--engine openvino: openvino is not installed; run: pip install openvino, or give",
        ),
        (
            "onnxruntime",
            r"onnx, onnxscript, onnxruntime is not installed; run: pip install 'segpipe\[onnx\]'",
        ),
        (
            "tensorrt",
            "tensorrt, polygraphy, onnx, onnxscript is not installed; run: pip install tensorrt polygraphy onnx",
        ),
    ],
)
def test_an_engine_that_is_not_there_is_refused(run, scans, out, monkeypatch, name, message):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SegpipeError, match=message):
        run(scans, engine=name)
    assert not out.exists()


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 0)])
def test_an_engine_of_processors_refuses_a_card(name, device):
    with pytest.raises(
        SegpipeError,
        match=f"--engine {name} computes on the processor, and the device is cuda.*; give --device cpu, or --engine",
    ):
        names.require_processor(name, device)


def test_tensorrt_refuses_a_processor():
    with pytest.raises(
        SegpipeError,
        match="--engine tensorrt computes on CUDA cards alone, and the device is cpu; give --device cuda, or",
    ):
        names.require_processor("tensorrt", "cpu")
    names.require_processor("tensorrt", "cuda:0")


def test_engines_that_need_no_processor_take_any_device():
    for name in ("auto", "torch", "torch-compile"):
        names.require_processor(name, "cuda:0")
    names.require_processor("openvino", None)


@needs_openvino
@pytest.mark.slow
def test_the_command_opens_no_socket_and_a_damaged_cache_changes_no_byte(run, bundle, tmp_path, monkeypatch):
    """A process converts the network; later runs find it, cut short, then with other weights under a valid hash."""
    scans = write_scans(tmp_path / "scans", 2)
    write_scan(scans / "long.nii.gz", 5, (30, 24, 40))
    environment = {name: text for name, text in os.environ.items() if name != "CI"}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = [sys.executable, "-c", WITHOUT_SOCKETS, "predict", scans, "--bundle", bundle]
    command += ["-o", tmp_path / "converted", "--engine", "openvino", "--no-overlays"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, (done.stdout, done.stderr[-2000:])
    assert not list((tmp_path / "home").rglob("*ntel*"))
    (weights,) = (tmp_path / "cache").rglob("network.bin")
    converted = weights.read_bytes()
    damages = {
        "cached": lambda: None,
        "cut short": lambda: weights.write_bytes(converted[:-100]),
        "other weights": lambda: _replace(weights, (np.frombuffer(converted, np.float32) * 2).tobytes()),
        "split": lambda: weights.with_name("network.xml").write_text("<net/>"),
    }
    for name, damage in damages.items():
        damage()
        run([scans / "long.nii.gz"] if name == "split" else scans, tmp_path / name, engine="openvino")
        assert set(by_engine(tmp_path / name).values()) == {("openvino", "float32")}
        maps = contents(tmp_path / name)
        assert maps["long.nii.gz"] == (tmp_path / "converted" / "long.nii.gz").read_bytes()
        assert weights.read_bytes() == converted
    run(scans, tmp_path / "torch", engine="torch")
    for case in ("scan_000", "long"):
        ours, theirs = (
            read_volume(tmp_path / folder / f"{case}.nii.gz").array for folder in ("converted", "torch")
        )
        assert np.mean(ours == theirs) > 0.9999
        assert len(np.unique(theirs)) > 1


def _replace(weights, content):
    """Write other weights, and their hash."""
    weights.write_bytes(content)
    path = weights.with_name("content.json")
    about = json.loads(path.read_text())
    about["files"][weights.name] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(about))


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_labels_are_those_of_pytorch_with_several_weights_and_mirrors(
    dims, zoo_bundle, random_network, write_scan, opened, tmp_path
):
    """The network of a foreign bundle, for slices and for volumes, as an ensemble over mirror images."""
    root, scan = zoo_bundle(dims=dims), write_scan(size=(50, 46, 42)[:dims])
    torch.save(random_network(dims, seed=1).state_dict(), tmp_path / "other.pt")
    weights, maps = [root / "models" / "model.pt", tmp_path / "other.pt"], {}
    for name in ("torch", "openvino"):
        said = []
        segmenter, image, grid = opened(
            root, scan, weights, flips=tuple(range(dims)), engine=name, report=said.append
        )
        done = segmenter.segment(image, grid)
        assert (done.way.engine, said) == (name, [])
        maps[name] = done.labels
    assert np.mean(maps["torch"] == maps["openvino"]) > 0.9999
    assert len(np.unique(maps["torch"])) == 3


@pytest.mark.slow
@pytest.mark.skipif(not names.is_installed("onnxruntime"), reason="ONNX Runtime is not installed")
def test_onnx_runtime_gives_the_labels_of_pytorch(run, scans, out, clean):
    run(scans, engine="onnxruntime")

    assert set(by_engine(out).values()) == {("onnxruntime", "float32")}
    assert all(contents(out)[name] == clean[name] for name in clean if name.endswith(".nii.gz"))


def test_a_network_that_cannot_be_compiled_goes_through_pytorch(run, scans, out, clean, monkeypatch):
    def refuse(*_, **__):
        def program(_):
            raise RuntimeError("no compiler\nwas found")

        return program

    monkeypatch.setattr(torch, "compile", refuse)
    run(scans, engine="torch-compile")

    assert set(by_engine(out).values()) == {("torch", "float32")}
    assert contents(out) == clean
    log = (out / "predict.log").read_text()
    assert (
        "computing with torch in float32 instead of torch-compile: the network cannot be compiled (RuntimeError: no "
        "compiler was found)" in log
    )


def test_a_compiled_network_gets_full_batches(run, scans, out, clean, monkeypatch):
    sizes = set()

    def compiled(scores, dynamic):
        def program(windows):
            sizes.add(len(windows))
            return scores(windows)

        return program

    monkeypatch.setattr(torch, "compile", compiled)
    run(scans, engine="torch-compile", batch_size=3)

    assert sizes == {3}
    assert set(by_engine(out).values()) == {("torch-compile", "float32")}
    assert all(contents(out)[name] == clean[name] for name in clean if name.endswith(".nii.gz"))
