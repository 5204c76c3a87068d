"""The overlap between the training cases of weights and the cases to score: one rule for every command.

The sidecar of weights has the names and the content hashes of the images that trained, of the images that validated,
and the name of their manifest; `TrainingRecord` reads it. `TrainOverlap` then judges cases:

- **trained**: the image was a training image, under any name and in any format; or a training image of the weights
  that the training started from.
- **patient**: another image of the case's patient was a training image. This judgement needs the manifest of the
  training, since only a manifest knows patients.
- **chosen**: the epoch of the weights was chosen by the case. Weights of a last epoch were not chosen.
- **unknown**: the weights have no record of their cases, so that any case can be a training case.

| | trained or patient | chosen | unknown |
|---|---|---|---|
| MONAI's run with evaluate.yaml | refused | warning | warning |
| `segpipe evaluate --bundle` | warning, first on the page | warning | warning |
| `segpipe evaluate --bundle --card` | refused | warning | refused |
| `segpipe reference-ranges` | only trained cases are measured | measured, too | all are measured, warning |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segpipe.dataset import Case, Manifest
from segpipe.errors import SegpipeError, shown
from segpipe.files import file_sha256
from segpipe.networks.weights import Sidecar, read_sidecar


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a training in the sidecar of its weights.

    Attributes:
        weights: path of the weights file.
        trained: case -> content hash of its image, see `segpipe.dataset.reports.content_sha256`; empty where not known.
        started_on: case -> content hash, for the cases that the weights to start from were trained on; empty for
            random numbers.
        chosen_by: case -> content hash, for the validation cases that chose the epoch.
        manifest: name of the manifest; None where not known.
        started_manifest: name of the manifest of the weights to start from; None where not known.
        fold: fold or split that was held out; None where not known.
        epoch: epoch of the weights; None where not known.
        commit: commit of segpipe; None where not known.
    """

    weights: Path
    trained: Mapping[str, str] = field(default_factory=dict)
    started_on: Mapping[str, str] = field(default_factory=dict)
    chosen_by: Mapping[str, str] = field(default_factory=dict)
    manifest: str | None = None
    started_manifest: str | None = None
    fold: int | str | None = None
    epoch: int | None = None
    commit: str | None = None

    @classmethod
    def of(cls, weights: Path, sidecar: Sidecar | None) -> TrainingRecord:
        """Return the record in a sidecar; an empty record without a sidecar."""
        if sidecar is None:
            return cls(weights)
        training = sidecar.training
        start = training.get("from_weights", {})
        return cls(
            weights,
            trained=training.get("cases", {}),
            started_on=start.get("cases", {}),
            chosen_by=training.get("validation_cases", {}) if "validation" in training else {},
            manifest=training.get("manifest", {}).get("name"),
            started_manifest=start.get("manifest"),
            fold=training.get("fold"),
            epoch=training.get("epoch"),
            commit=training.get("environment", {}).get("commit"),
        )

    @classmethod
    def read(cls, weights: Path) -> TrainingRecord:
        """Read the record beside a weights file.

        Raises:
            SegpipeError: see `segpipe.networks.weights.read_sidecar`.
        """
        return cls.of(weights, read_sidecar(weights))

    def as_plain(self) -> dict[str, Any]:
        """Return file, hash and training in plain types, for `summary.json`."""
        return {
            "file": self.weights.name,
            "sha256": file_sha256(self.weights),
            "trained_on": self.manifest,
            "fold": self.fold,
            "epoch": self.epoch,
            "cases": len(self.trained) or None,
            "commit": self.commit,
        }


@dataclass(frozen=True)
class TrainOverlap:
    """The overlap of a training with cases; the module's docstring has the rule.

    Attributes:
        total: number of cases.
        trained: cases whose image was a training image.
        patients: other cases of a training patient.
        chosen: cases that chose the epoch.
        unknown: names of weights without a record of their cases.
    """

    total: int
    trained: tuple[str, ...]
    patients: tuple[str, ...]
    chosen: tuple[str, ...]
    unknown: tuple[str, ...]

    @classmethod
    def of(
        cls,
        records: Sequence[TrainingRecord],
        manifest: Manifest,
        cases: Sequence[Case],
        contents: Mapping[str, str],
    ) -> TrainOverlap:
        """Judge cases.

        Args:
            records: training records of the weights.
            manifest: manifest that lists the cases.
            cases: cases to judge.
            contents: case -> content hash of its image.
        """
        trained = _cases_in(
            contents, records, lambda record: [*record.trained.values(), *record.started_on.values()]
        )
        patients = {
            case.patient
            for case in (*manifest.training, *manifest.test)
            for record in records
            if (record.manifest == manifest.name and case.case in record.trained)
            or (record.started_manifest == manifest.name and case.case in record.started_on)
        } - {None}
        return cls(
            total=len(cases),
            trained=trained,
            patients=tuple(
                case.case for case in cases if case.patient in patients and case.case not in trained
            ),
            chosen=_cases_in(contents, records, lambda record: record.chosen_by.values()),
            unknown=tuple(record.weights.name for record in records if not record.trained),
        )

    @property
    def leaks(self) -> str:
        """Why scores on these cases do not hold for unseen cases, in words; empty without a known reason."""
        if self.trained:
            return (
                f"the weights were trained on {len(self.trained)} of these {self.total} cases "
                f"({shown(self.trained, most=3)})"
            )
        if self.patients:
            return (
                f"the weights were trained on other cases of the same patients as {len(self.patients)} of these "
                f"{self.total} cases ({shown(self.patients, most=3)})"
            )
        return ""

    def require_held_out(self, where: str, remedy: str, *, known: bool = False) -> None:
        """Refuse cases whose image or patient was in the training.

        Args:
            where: text that begins the message.
            remedy: text that ends the message.
            known: whether weights without a record are refused, too.

        Raises:
            SegpipeError: there are such cases; the message names them.
        """
        if self.leaks:
            raise SegpipeError(f"{where}: {self.leaks}: such scores say nothing about new patients; {remedy}")
        if known and self.unknown:
            raise SegpipeError(
                f"{where}: the training cases of {shown(self.unknown)} are not known, so the scored cases may be "
                "among them; give weights with the sidecar that segpipe writes beside them"
            )

    def warnings(self) -> list[str]:
        """Return the limits of the scores' validity, a sentence each."""
        messages = []
        if self.leaks:
            messages.append(
                f"NOT HELD OUT: {self.leaks}. The scores show how well the network remembers its training, not how "
                "well it does on new patients."
            )
        if self.unknown:
            messages.append(
                f"The training cases of {shown(self.unknown)} are not known: the scored cases may be among them."
            )
        if self.chosen:
            messages.append(
                f"The epoch of the weights was chosen on {len(self.chosen)} of these {self.total} cases: the scores "
                "are slightly too good."
            )
        return messages

    def as_plain(self) -> dict[str, list[str]]:
        """Return the cases of each judgement, for `summary.json`."""
        return {name: list(getattr(self, name)) for name in ("trained", "patients", "chosen", "unknown")}


def _cases_in(
    contents: Mapping[str, str],
    records: Iterable[TrainingRecord],
    images_of: Callable[[TrainingRecord], Iterable[str]],
) -> tuple[str, ...]:
    """Return the cases whose image is in at least one record."""
    known = {content for record in records for content in images_of(record)}
    return tuple(sorted(case for case, content in contents.items() if content in known))
