"""Write data_manifests/hippocampus.json from the files of MSD Task04: same files, same bytes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from checksum_list import OPTION_HELP, listed_cases, sums_below

from segpipe.dataset import Case, Manifest, load_manifest, with_checksums, with_folds, write_manifest
from segpipe.errors import SegpipeError

NUM_FOLDS = 5
SEED = 0


def hippocampus_manifest(dataset_dir: Path, held_back: Path) -> Manifest:
    """Name every case below `dataset_dir`, and list the other training cases of Task04 under test.

    Args:
        dataset_dir: folder with dataset.json, imagesTr and labelsTr.
        held_back: list of the checksums of the cases to list under test, which need not be there.

    Raises:
        SegpipeError: dataset.json is no manifest, or a file that it names is missing; or the list names other files.
    """
    published = load_manifest(dataset_dir / "dataset.json")
    cases = tuple(sorted(published.training, key=lambda case: case.case))
    sums = sums_below(held_back, "hippocampus")
    names = [Path(one.path).name for one in sums if one.path.startswith("imagesTr/")]
    others = [Case(name.split(".")[0], (f"imagesTr/{name}",), f"labelsTr/{name}") for name in names]
    tests = listed_cases(others, sums, held_back)
    manifest = Manifest(
        name="hippocampus",
        description="Cropped T1-weighted MRI of the left or right hippocampus, 1 mm: anterior and posterior.",
        source="Medical Segmentation Decathlon, Task04_Hippocampus, http://medicaldecathlon.com",
        reference="Vanderbilt University Medical Center",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., The Medical Segmentation Decathlon, Nat. Commun. 13:4128 (2022), "
        "doi 10.1038/s41467-022-30695-9",
        patients="unknown: the 260 training and 130 test scans of Task04 are left and right hippocampi of "
        "195 people, and which belong together is not published. Every scan counts as a patient of its own, "
        "so the folds cannot be proved patient-disjoint: both sides of a person may train and validate.",
        checksums=f"taken from {len(cases)} of Task04's 260 training cases, and for the {len(tests)} cases of the list "
        "test from the checksums that came with them; files as distributed (.nii.gz): a copy that was compressed again "
        "differs in its bytes though not in its voxels",
        modality=published.modality,
        labels={value: name.lower() for value, name in published.labels.items()},
        training=tuple(replace(case, patient=None) for case in cases),
    )
    return replace(with_folds(with_checksums(manifest, dataset_dir), NUM_FOLDS, SEED), test=tests)


def main() -> int:
    """Parse the command line and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset_dir", type=Path, metavar="DATASET_DIR")
    parser.add_argument("held_back", type=Path, metavar="SHA256SUMS", help=OPTION_HELP)
    shipped = Path(__file__).resolve().parents[1] / "data_manifests" / "hippocampus.json"
    parser.add_argument(
        "--output", type=Path, default=shipped, help="default: data_manifests/hippocampus.json"
    )
    arguments = parser.parse_args()
    try:
        manifest = hippocampus_manifest(arguments.dataset_dir, arguments.held_back)
        write_manifest(manifest, arguments.output)
    except SegpipeError as error:
        print(f"make_hippocampus_manifest: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output}: {len(manifest.training)} cases to train on, {len(manifest.test)} to test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
