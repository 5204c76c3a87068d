from .checksums import with_checksums as with_checksums
from .dataset_folder import dataset_dir_of as dataset_dir_of
from .dataset_folder import known_dataset_dir as known_dataset_dir
from .evaluation_split import EvaluationSplit as EvaluationSplit
from .evaluation_split import evaluation_split_of as evaluation_split_of
from .fetching import fetch as fetch
from .fingerprint import dataset_fingerprint as dataset_fingerprint
from .folds import (
    describe_split as describe_split,
)
from .folds import (
    patient_folds as patient_folds,
)
from .folds import (
    training_split as training_split,
)
from .folds import (
    with_folds as with_folds,
)
from .image_examination import (
    examine_images as examine_images,
)
from .image_examination import (
    image_hashes_of_tests as image_hashes_of_tests,
)
from .image_examination import (
    require_valid_images as require_valid_images,
)
from .importing.created import CreatedManifest as CreatedManifest
from .importing.folder_manifest import create_manifest as create_manifest
from .integrity import (
    check_cases as check_cases,
)
from .integrity import (
    content_hashes_of_tests as content_hashes_of_tests,
)
from .integrity import (
    examine_cases as examine_cases,
)
from .integrity import (
    require_valid as require_valid,
)
from .integrity import (
    training_records as training_records,
)
from .leaks import Side as Side
from .leaks import refuse_leaks as refuse_leaks
from .leaks import side_of_test_list as side_of_test_list
from .manifest import (
    Case as Case,
)
from .manifest import (
    Download as Download,
)
from .manifest import (
    Manifest as Manifest,
)
from .manifest import (
    Split as Split,
)
from .manifest import (
    with_groups as with_groups,
)
from .manifest_files import (
    is_plain_decathlon as is_plain_decathlon,
)
from .manifest_files import (
    load_manifest as load_manifest,
)
from .manifest_files import (
    parse_manifest as parse_manifest,
)
from .manifest_files import (
    shipped_manifests as shipped_manifests,
)
from .manifest_files import (
    write_manifest as write_manifest,
)
from .manifest_split import Division as Division
from .manifest_split import Part as Part
from .manifest_split import divide_manifest as divide_manifest
from .outliers import set_findings as set_findings
from .reports import (
    CaseReport as CaseReport,
)
from .reports import (
    Finding as Finding,
)
from .reports import (
    ImageFacts as ImageFacts,
)
from .reports import (
    ImageReport as ImageReport,
)
from .set_checks import CheckOptions as CheckOptions
from .set_checks import check_dataset as check_dataset
