"""Fixtures: a small bundle in the model zoo's layout, and a cohort of small scans through a small bundle."""

from cohort_fixtures import bundle, clean, clean_with_weights, out, run, scans, weights  # noqa: F401 - fixtures
from zoo_fixtures import by_monai, empty_datasets, opened, random_network, write_scan, zoo_bundle  # noqa: F401 - fixtures
