"""Writes the network of a bundle in another form, and compares its scores before the file appears."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from segpipe.bundle.opening import admitted_bundle, load_network
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.export import onnx_form, openvino_form, torchscript_form
from segpipe.export.checking import Compared, compared, require_equal, size_step
from segpipe.export.facts import exported_facts
from segpipe.export.form import Exportable, Form
from segpipe.files import require_writable_file
from segpipe.information import Information, bundle_information

FORMS: dict[str, Form] = {
    form.name: form for form in (onnx_form.FORM, torchscript_form.FORM, openvino_form.FORM)
}
_MOST_REASON = 300  # characters of another program's message


@dataclass(frozen=True)
class ExportOptions:
    """How a network is exported.

    Attributes:
        size: pixels or voxels along each axis of an image that the network takes; None: the sliding window of the
            configuration, or the shape in the metadata.
        fixed_size: the file takes images of this size alone, of any batch.
        overwrite: replace a file that is there.
    """

    size: Sequence[int] | None = None
    fixed_size: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        files: the file, and files beside it.
        way: how it was written.
        step: by which an image may be longer than `compared[0].shape`, along every axis; None: not at all.
        compared: scores of two batches beside the network's own, of two sizes if the file takes several.
    """

    files: tuple[Path, ...]
    way: str
    step: int | None
    compared: tuple[Compared, ...]


def export_bundle(
    bundle: str | Path | BundleSource, form: str, output: Path, options: ExportOptions | None = None
) -> Exported:
    """Write the network of a bundle, with its weights, in another form.

    The file takes `image`, float32 `(B, C, *spatial)` of any batch, prepared as `transforms` in its metadata says. It
    returns `pred`, the network's scores before softmax or sigmoid. Its metadata hold labels, channels, window, spacing
    and transforms. Before the file appears, its scores are compared with the network's for one and two images, of two
    sizes if the network takes several.

    Args:
        bundle: folder, name or source.
        form: onnx, torchscript or openvino.
        output: path of the file; its suffix is the form's.
        options: see `ExportOptions`.

    Raises:
        SegpipeError: the form or the suffix is none of these; a package is missing; the file exists; the bundle cannot
            be opened, or could run code and the user has not trusted it; the network cannot be exported, or its
            scores differ. Then no file is left.
    """
    chosen, how = _form(form, output), options or ExportOptions()
    chosen.require_installed()
    require_writable_file(output)
    files = (output, *(output.with_suffix(suffix) for suffix in chosen.beside))
    for path in files:
        if os.path.lexists(path) and not how.overwrite:
            raise SegpipeError(f"{path}: exists already; give --overwrite to replace it, or another name")
    source = replace(BundleSource.of(bundle), device="cpu")
    with admitted_bundle(source, None, ("network_def",), ()) as (root, admission):
        about = bundle_information(
            root,
            [Path(path) for path in source.weights],
            [Path(path) for path in source.configs],
            source.overrides,
        )
        loaded = load_network(root, admission.parser, source.weights)
        size = _size(about, how)
        channels = len(about.channels)
        _require_taken(root, loaded.network, channels, size)
        step = None if how.fixed_size else size_step(loaded.network, channels, size)
        facts = exported_facts(about, admission, loaded, size, step)
        job = Exportable(loaded.network, torch.zeros(2, channels, *size), step is not None, facts)
        shapes = [(1, channels, *size), (2, channels, *(length + (step or 0) for length in size))]
        return _written(job, chosen, files, shapes, step)


def _written(
    job: Exportable, form: Form, files: Sequence[Path], shapes: Sequence[tuple[int, ...]], step: int | None
) -> Exported:
    """Try each way in a hidden folder; move the files of the first one with equal scores to their places."""
    output = files[0]
    output.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    with tempfile.TemporaryDirectory(prefix=".segpipe-export-", dir=output.parent) as hidden:
        for number, (way, write) in enumerate(form.ways.items()):
            folder = Path(hidden, str(number))
            folder.mkdir()
            staged = folder / output.name
            try:
                results = _tried(job, form, write, staged, shapes)
            except (RuntimeError, ValueError, TypeError, OSError, AttributeError, SegpipeError) as error:
                reasons.append(
                    f"{way}: {_reason(error)}"
                )  # other programs raise their own errors, most of them these
                continue
            for path in files:
                staged.with_suffix(path.suffix).replace(path)
            return Exported(tuple(files), way, step, results)
    further = "" if not job.any_size else "; --fixed-size exports it for images of one size"
    raise SegpipeError(
        f"{output}: the network cannot be exported as {form.name}, and no file was written: {'; '.join(reasons)}"
        f"{further}"
    )


def _tried(
    job: Exportable, form: Form, write: object, staged: Path, shapes: Sequence[tuple[int, ...]]
) -> tuple[Compared, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about their own future
        with torch.inference_mode():
            write(job, staged)  # type: ignore[operator]
        scores = form.opened(staged)
        results = tuple(compared(job.network, scores, shape) for shape in shapes)
    for result in results:
        require_equal(result)
    return results


def _form(name: str, output: Path) -> Form:
    form = FORMS.get(name.casefold())
    if form is None:
        raise SegpipeError(f"--to {name}: must be one of {', '.join(FORMS)}")
    if output.suffix.lower() not in form.suffixes:
        raise SegpipeError(
            f"{output}: the name of {form.name} files ends in {' or '.join(form.suffixes)}; rename the output"
        )
    return form


def _size(about: Information, options: ExportOptions) -> tuple[int, ...]:
    """Return the size of an image that the network takes."""
    dims = len(about.shape)
    size = options.size or about.settings.window_size or about.shape
    whole = [length for length in size if isinstance(length, int) and length > 0]
    if len(whole) != len(size) or len(size) != dims:
        raise SegpipeError(
            f"{about.path}: the size {list(size)} is no {dims} whole numbers above 0; give --size, such as --size "
            f"{','.join(['96'] * dims)}"
        )
    return tuple(whole)


def _require_taken(root: Path, network: torch.nn.Module, channels: int, size: Sequence[int]) -> None:
    try:
        with torch.inference_mode():
            network(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, SegpipeError) as error:
        raise SegpipeError(
            f"{root}: its network takes no image of {channels} channel(s) and {' x '.join(map(str, size))} "
            f"({_reason(error)}); give a size that it takes with --size"
        ) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_MOST_REASON]}" if not isinstance(error, SegpipeError) else text
