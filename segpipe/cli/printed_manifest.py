"""What `segpipe data create` prints about a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.cli.printed import say

_EXAMPLES = 3

if TYPE_CHECKING:
    from segpipe.dataset import Case, CreatedManifest, Manifest


def say_label_maps(created: CreatedManifest, output: Path) -> None:
    """Print what a manifest of label maps holds.

    Args:
        created: the manifest, with remarks.
        output: path of its file.
    """
    content = created.manifest
    test = f"{len(content.test)} to test ({sum(case.label is not None for case in content.test)} with label maps)"
    say(f"{output}: {len(content.training)} cases to train on, {test}, {_patients(created)}")
    say(f"channels: {', '.join(content.modality)}")
    say(f"classes: {', '.join(f'{value} {name}' for value, name in content.labels.items())}")
    if content.regions:
        held = [f"{one.name} ({', '.join(one.classes)})" for one in content.regions]
        say(f"regions: {'; '.join(held)}")
    for case in _examples(content):  # so that a wrong pairing is seen
        say(
            f"example: case {case.case}, patient {case.patient or 'unknown'}, image {' + '.join(case.images)}, label "
            f"{case.label}"
        )
    _say_remarks(created)


def say_categories(created: CreatedManifest, output: Path) -> None:
    """Print what a manifest of classes or findings holds, and the commands that follow.

    Args:
        created: the manifest, with remarks.
        output: path of its file.
    """
    content = created.manifest
    exclusive = content.target == "class"
    labelled = sum(bool(case.classes) for case in content.test)
    test = f"{len(content.test)} to test" + (
        f" ({labelled} with a class)" if exclusive and content.test else ""
    )
    say(f"{output}: {len(content.training)} images to train on, {test}, {_patients(created)}")
    say(f"images: {', '.join(content.modality)}")
    present = Counter(name for case in content.training for name in case.classes)
    unknown = Counter(name for case in content.training for name in case.unknown)
    counts = [
        f"{value} {name} ({present[name]}{f', {unknown[name]} unknown' if unknown[name] else ''})"
        for value, name in content.labels.items()
    ]
    what = "classes (images to train on)" if exclusive else "findings (images to train on with it)"
    say(f"{what}: {', '.join(counts)}")
    if not exclusive:
        none = sum(not case.classes and not case.unknown for case in content.training)
        several = sum(len(case.classes) > 1 for case in content.training)
        say(f"no finding: {none} images; several findings: {several} images")
    for case in _examples(content):
        patient = case.patient or "unknown"
        say(f"example: case {case.case}, patient {patient}, image {case.images[0]}, {_label(case, content)}")
    _say_remarks(created)
    has_folds = any(case.fold is not None for case in content.training)
    split = "" if has_folds else f"segpipe data split {output} --folds 5; "
    say(f"next: segpipe data check {output}; {split}segpipe plan {output}")


def _label(case: Case, manifest: Manifest) -> str:
    if manifest.target == "class":
        return f"class {case.classes[0]}"
    unknown = f", unknown {'|'.join(case.unknown)}" if case.unknown else ""
    return f"findings {'|'.join(case.classes) or 'No Finding'}{unknown}"


def _examples(manifest: Manifest) -> Iterator[Case]:
    """Yield the first, the middle and the last case; of those with a finding where there are three."""
    cases = [case for case in manifest.training if case.classes]
    if len(cases) < _EXAMPLES:
        cases = list(manifest.training)
    yield from (cases[position] for position in sorted({0, len(cases) // 2, len(cases) - 1}))


def _patients(created: CreatedManifest) -> str:
    from segpipe.errors import counted

    patients = {case.patient for case in created.manifest.training} - {None}
    if not patients:
        return "unknown patients"
    return f"{counted(len(patients), 'patient')} (from {created.patients_from})"


def _say_remarks(created: CreatedManifest) -> None:
    for note in created.notes:
        say(f"note: {note}")
    for warning in created.warnings:
        say(f"warning: {warning}")
