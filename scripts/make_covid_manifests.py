"""Write data_manifests/covid_ct_512.json or covid_ct_256.json from the files there are: same files, same bytes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from checksum_list import OPTION_HELP, listed_cases, sums_below

from segpipe.dataset import (
    Case,
    Manifest,
    Split,
    load_manifest,
    patient_folds,
    with_checksums,
    write_manifest,
)
from segpipe.errors import SegpipeError
from segpipe.volumes import read_volume

LEADING = "covid_ct_512"  # the copy that deals out the folds
NUM_FOLDS = 5
SEED = 0
CLASSES = ("background", "ground-glass", "consolidation", "effusion")
SHIPPED = Path(__file__).resolve().parents[1] / "data_manifests"
PATIENTS = (
    "unknown: which of the 100 slices are of one patient is not published, and slices that look alike stand far apart. "
    "Every slice counts as a patient of its own, so the folds cannot be proved patient-disjoint."
)


@dataclass(frozen=True)
class Copy:
    """One of the two published copies of the slices: how its files are named, and whose it is."""

    image: str
    label: str
    values: tuple[int, ...]
    description: str
    source: str
    licence: str
    citation: str


COPIES = {
    "covid_ct_512": Copy(
        image="images/slice_{:03d}.mhd",
        label="labels/slice_{:03d}.mhd",
        values=(0, 1, 2, 3),
        description="Axial CT slices of lungs with COVID-19, 512 x 512, 8 bit of an unknown window, the crop of "
        "the lungs on an empty canvas, rows and columns exchanged as distributed.",
        source="MedSeg and SIRM 100-slice set, https://medicalsegmentation.com/covid19, through COVID-SemiSeg",
        licence="research, non-commercial",
        citation="Fan et al., Inf-Net, IEEE TMI 39:2626 (2020), doi 10.1109/TMI.2020.2996645; masks: MedSeg",
    ),
    "covid_ct_256": Copy(
        image="images/i{:03d}.png",
        label="masks/i{:03d}.png",
        values=(0, 85, 170, 255),
        description="The slices of covid_ct_512 at 256 x 256, with what is not lung set to 0.",
        source="https://github.com/adnan-saood/COVID19-DL; images: SIRM",
        licence="CC0-1.0 (the repository); images SIRM",
        citation="Saood & Hatem, BMC Med. Imaging 21:19 (2021), doi 10.1186/s12880-020-00529-5",
    ),
}


def covid_manifest(name: str, dataset_dir: Path, held_back: Path) -> Manifest:
    """Name every slice below `dataset_dir`, with folds and the published splits; list the others under test.

    Folds have equal shares of the slices with effusion, and among the others of those with consolidation. A slice is in
    one fold in both copies, so that weights of one are never scored on what they saw in the other.

    Args:
        name: of the copy.
        dataset_dir: its folder.
        held_back: list of the checksums of the slices to list under test, which need not be there.

    Raises:
        SegpipeError: no slice is there, or one has a file missing or unreadable; or the list names other files.
    """
    copy = COPIES[name]
    numbers = [number for number in range(1, 101) if (dataset_dir / copy.image.format(number)).is_file()]
    if not numbers:
        raise SegpipeError(
            f"{dataset_dir}: holds no {copy.image.format(1)} or the like; give the set's folder"
        )
    cases = tuple(
        Case(_case(number), (copy.image.format(number),), copy.label.format(number)) for number in numbers
    )
    folds = _folds(name, cases, dataset_dir)
    sums = sums_below(held_back, name)
    tests = listed_cases(
        [
            Case(_case(number), (copy.image.format(number),), copy.label.format(number))
            for number in range(1, 101)
            if copy.image.format(number) in {one.path for one in sums}
        ],
        sums,
        held_back,
    )
    manifest = Manifest(
        name=name,
        description=copy.description,
        source=copy.source,
        licence=copy.licence,
        citation=copy.citation,
        patients=PATIENTS,
        checksums=f"taken from {len(cases)} of the 100 slices, and for the {len(tests)} slices of the list test from "
        f"the checksums that came with them{_others(len(cases) + len(tests))}",
        modality=("CT",),
        labels=dict(zip(copy.values, CLASSES, strict=True)),
        training=tuple(replace(case, fold=fold) for case, fold in zip(cases, folds, strict=True)),
        splits={
            "article": Split(
                _cases(1, 84), _cases(85, 100), about="of the article: the first 84 slices and the last 16"
            ),
            "paper": Split(
                _cases(1, 72),
                _cases(73, 82),
                _cases(83, 100),
                "72, 10 and 18 slices as in Saood & Hatem, who do not say which; here in order",
            ),
        },
    )
    return replace(with_checksums(manifest, dataset_dir), test=tests)


def _others(listed: int) -> str:
    return "" if listed == 100 else f"; the other {100 - listed} are not listed"


def _folds(name: str, cases: tuple[Case, ...], dataset_dir: Path) -> list[int]:
    if name == LEADING:
        rarest = [str(np.max(read_volume(dataset_dir / str(case.label)).array)) for case in cases]
        return patient_folds(cases, NUM_FOLDS, SEED, rarest)
    known = {case.case: case.fold for case in load_manifest(SHIPPED / f"{LEADING}.json").training}
    folds: list[int] = []
    for case in cases:
        fold = known.get(case.case)
        taken = [*known.values(), *folds]
        folds.append(min(range(NUM_FOLDS), key=taken.count) if fold is None else fold)
    return folds


def _case(number: int) -> str:
    return f"slice_{number:03d}"


def _cases(first: int, last: int) -> tuple[str, ...]:
    return tuple(_case(number) for number in range(first, last + 1))


def main() -> int:
    """Parse the command line and write one manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=COPIES)
    parser.add_argument("dataset_dir", type=Path, metavar="DATASET_DIR")
    parser.add_argument("held_back", type=Path, metavar="SHA256SUMS", help=OPTION_HELP)
    parser.add_argument("--output", type=Path, help="default: data_manifests/NAME.json")
    arguments = parser.parse_args()
    output = arguments.output or SHIPPED / f"{arguments.name}.json"
    try:
        manifest = covid_manifest(arguments.name, arguments.dataset_dir, arguments.held_back)
        write_manifest(manifest, output)
    except SegpipeError as error:
        print(f"make_covid_manifests: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {len(manifest.training)} slices to train on, {len(manifest.test)} to test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
