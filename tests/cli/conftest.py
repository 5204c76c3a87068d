"""The small bundle, scans and output folder of `segpipe predict`'s tests."""

from cohort_fixtures import bundle, out, scans  # noqa: F401 - fixtures
