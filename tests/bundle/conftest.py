"""The small bundle of the model zoo's layout."""

from zoo_fixtures import by_monai, empty_datasets, opened, random_network, write_scan, zoo_bundle  # noqa: F401 - fixtures
