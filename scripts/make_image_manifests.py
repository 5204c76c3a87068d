"""Write data_manifests/oct2017.json or nih_cxr64.json from the files there are: same files, same bytes."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import replace
from pathlib import Path

from checksum_list import OPTION_HELP, Sum, sums_below

from segpipe.categories import NO_FINDING
from segpipe.dataset import Case, Manifest, with_checksums, with_folds, write_manifest
from segpipe.errors import SegpipeError

NUM_FOLDS = 5
SEED = 0
SHIPPED = Path(__file__).resolve().parents[1] / "data_manifests"
OCT_CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
OCT_FILE = re.compile(r"(?P<case>(?P<name>[A-Z]+)-(?P<patient>[0-9]+)-[0-9]+)\.jpeg")
CXR_FINDINGS = (  # in the order of Wang et al. and of CheXNet
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)


def oct_manifest(dataset_dir: Path, held_back: list[Sum]) -> Manifest:
    """Name every image `CLASS/CLASS-PATIENT-N.jpeg`, and under test the images of a list, which need not be there.

    Raises:
        SegpipeError: no image is there, or a name has another form.
    """
    paths = sorted(path.relative_to(dataset_dir).as_posix() for path in dataset_dir.glob("*/*.jpeg"))
    if not paths:
        raise SegpipeError(
            f"{dataset_dir}: holds no CLASS/CLASS-PATIENT-N.jpeg; give the folder of the classes"
        )
    manifest = Manifest(
        name="oct2017",
        description="Retinal OCT B-scans of one class each: choroidal neovascularisation (CNV), diabetic macular "
        "oedema (DME), drusen, normal. The test part of OCT2017: 1,000 images, most of 512 x 496 or 768 x 496 pixels "
        "in 8-bit grey.",
        source="Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for "
        "Classification, Mendeley Data, doi 10.17632/rscbjbr9sj; the folder test of OCT2017",
        reference="University of California San Diego, Shiley Eye Institute, and partners",
        licence="CC BY 4.0",
        citation="Kermany et al., Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning, "
        "Cell 172:1122 (2018), doi 10.1016/j.cell.2018.02.010",
        patients="from the names CLASS-PATIENT-N.jpeg; some patients have images of two classes. The list test was "
        "split from the others by patient.",
        checksums=f"taken from {len(paths)} of the 1,000 images, and for the list test from the checksums that came "
        "with it; files as distributed",
        modality=("OCT",),
        labels=dict(enumerate(OCT_CLASSES)),
        target="class",
        training=tuple(_oct_case(path) for path in paths),
        test=tuple(replace(_oct_case(one.path), sha256={one.path: one.sha256}) for one in held_back),
    )
    summed = with_checksums(replace(manifest, test=()), dataset_dir)
    return with_folds(replace(manifest, training=summed.training), NUM_FOLDS, SEED)


def cxr_manifest(dataset_dir: Path) -> Manifest:
    """Name every image of `labels.csv`, with its findings.

    Raises:
        SegpipeError: the table is missing, or names a finding that is none of the fourteen.
    """
    table = dataset_dir / "labels.csv"
    if not table.is_file():
        raise SegpipeError(f"{dataset_dir}: holds no labels.csv; give the set's folder")
    with table.open(encoding="utf-8", newline="") as file:
        cases = tuple(_cxr_case(row) for row in csv.DictReader(file))
    manifest = Manifest(
        name="nih_cxr64",
        description="Frontal chest X-rays of ChestX-ray14, shrunk to 64 x 64 (a few 128 x 128), 8 bit: any number of "
        "fourteen findings an image, read from reports by a program, not by readers of the images.",
        source="NIH Clinical Center, ChestX-ray14, https://nihcc.app.box.com/v/ChestXray-NIHCC, shrunk",
        reference="NIH Clinical Center",
        licence="no restriction; attribution to the NIH Clinical Center and to the publication",
        citation="Wang et al., ChestX-ray8, CVPR 2017, doi 10.1109/CVPR.2017.369",
        patients="from the table: the first eight digits of an image's name",
        checksums=f"taken from {len(cases)} of 1,000 shrunk images; the others are not listed",
        modality=("X-ray",),
        labels=dict(enumerate(CXR_FINDINGS)),
        target="findings",
        training=tuple(sorted(cases, key=lambda case: case.case)),
    )
    return with_folds(with_checksums(manifest, dataset_dir), NUM_FOLDS, SEED)


def _oct_case(path: str) -> Case:
    folder, _, name = path.partition("/")
    match = OCT_FILE.fullmatch(name)
    if match is None or match["name"] != folder or folder not in OCT_CLASSES:
        raise SegpipeError(f"{path}: must be CLASS/CLASS-PATIENT-N.jpeg, of {', '.join(OCT_CLASSES)}")
    return Case(match["case"], (path,), patient=match["patient"], classes=(folder,))


def _cxr_case(row: dict[str, str]) -> Case:
    named = set(row["findings"].split("|")) - {NO_FINDING}
    if not named <= set(CXR_FINDINGS):
        raise SegpipeError(
            f"{row['image']}: {', '.join(sorted(named - set(CXR_FINDINGS)))} is none of the fourteen"
        )
    findings = tuple(name for name in CXR_FINDINGS if name in named)
    image = row["image"]
    return Case(Path(image).stem, (f"images/{image}",), patient=row["patient_id"], classes=findings)


def main() -> int:
    """Parse the command line and write one manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("oct2017", "nih_cxr64"))
    parser.add_argument("dataset_dir", type=Path, metavar="DATASET_DIR")
    parser.add_argument(
        "--held-back",
        type=Path,
        metavar="SHA256SUMS",
        help=f"of oct2017: {OPTION_HELP}",
    )
    parser.add_argument("--output", type=Path, help="default: data_manifests/NAME.json")
    arguments = parser.parse_args()
    output = arguments.output or SHIPPED / f"{arguments.name}.json"
    try:
        if arguments.name == "oct2017":
            if arguments.held_back is None:
                parser.error("oct2017 needs --held-back")
            manifest = oct_manifest(arguments.dataset_dir, sums_below(arguments.held_back, "oct2017"))
        else:
            manifest = cxr_manifest(arguments.dataset_dir)
        write_manifest(manifest, output)
    except SegpipeError as error:
        print(f"make_image_manifests: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {len(manifest.training)} images to train on, {len(manifest.test)} to test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
