"""Write data_manifests/hippocampus.json from the files of MSD Task04: same files, same bytes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from segpipe.dataset import Manifest, load_manifest, with_checksums, with_folds, write_manifest
from segpipe.errors import SegpipeError

NUM_FOLDS = 5
SEED = 0


def hippocampus_manifest(dataset_dir: Path) -> Manifest:
    """Name every case below `dataset_dir`, which holds dataset.json, imagesTr and labelsTr.

    Raises:
        SegpipeError: dataset.json is no manifest, or a file that it names is missing.
    """
    published = load_manifest(dataset_dir / "dataset.json")
    cases = tuple(sorted(published.training, key=lambda case: case.case))
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
        checksums=f"taken from a {len(cases)}-case part of Task04's 260 training cases, files as distributed "
        "(.nii.gz); a copy that was compressed again differs in its bytes though not in its voxels",
        modality=published.modality,
        labels={value: name.lower() for value, name in published.labels.items()},
        training=tuple(replace(case, patient=None) for case in cases),
    )
    return with_folds(with_checksums(manifest, dataset_dir), NUM_FOLDS, SEED)


def main() -> int:
    """Parse the command line and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset_dir", type=Path, metavar="DATASET_DIR")
    shipped = Path(__file__).resolve().parents[1] / "data_manifests" / "hippocampus.json"
    parser.add_argument(
        "--output", type=Path, default=shipped, help="default: data_manifests/hippocampus.json"
    )
    arguments = parser.parse_args()
    try:
        manifest = hippocampus_manifest(arguments.dataset_dir)
        write_manifest(manifest, arguments.output)
    except SegpipeError as error:
        print(f"make_hippocampus_manifest: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output}: {len(manifest.training)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
