"""Data sets to train on: manifests, folds, checks of every file, downloads, import of folders.

Import `segpipe.dataset.loading` (cases into batches) directly: it alone needs torch.
"""

from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.dataset_folder import dataset_dir_of, known_dataset_dir
from segpipe.dataset.evaluation_split import EvaluationSplit, evaluation_split_of
from segpipe.dataset.fetching import fetch
from segpipe.dataset.fingerprint import dataset_fingerprint
from segpipe.dataset.folds import describe_split, patient_folds, training_split, with_folds
from segpipe.dataset.image_examination import examine_images, image_hashes_of_tests, require_valid_images
from segpipe.dataset.importing.created import CreatedManifest
from segpipe.dataset.importing.folder_manifest import create_manifest
from segpipe.dataset.integrity import (
    check_cases,
    content_hashes_of_tests,
    examine_cases,
    require_valid,
    training_records,
)
from segpipe.dataset.leaks import Side, refuse_leaks, side_of_test_list
from segpipe.dataset.manifest import Case, Download, Manifest, Split, with_groups
from segpipe.dataset.manifest_files import (
    is_plain_decathlon,
    load_manifest,
    parse_manifest,
    shipped_manifests,
    write_manifest,
)
from segpipe.dataset.manifest_split import Division, Part, divide_manifest
from segpipe.dataset.outliers import set_findings
from segpipe.dataset.reports import CaseReport, Finding, ImageFacts, ImageReport
from segpipe.dataset.set_checks import CheckOptions, check_dataset

__all__ = [
    "Case",
    "CaseReport",
    "CheckOptions",
    "CreatedManifest",
    "Division",
    "Download",
    "EvaluationSplit",
    "Finding",
    "ImageFacts",
    "ImageReport",
    "Manifest",
    "Part",
    "Side",
    "Split",
    "check_cases",
    "check_dataset",
    "content_hashes_of_tests",
    "create_manifest",
    "dataset_dir_of",
    "dataset_fingerprint",
    "describe_split",
    "divide_manifest",
    "evaluation_split_of",
    "examine_cases",
    "examine_images",
    "fetch",
    "image_hashes_of_tests",
    "is_plain_decathlon",
    "known_dataset_dir",
    "load_manifest",
    "parse_manifest",
    "patient_folds",
    "refuse_leaks",
    "require_valid",
    "require_valid_images",
    "set_findings",
    "shipped_manifests",
    "side_of_test_list",
    "training_records",
    "training_split",
    "with_checksums",
    "with_folds",
    "with_groups",
    "write_manifest",
]
