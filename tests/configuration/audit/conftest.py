"""A fixture that audits a configuration; nothing of the configuration runs."""

from pathlib import Path

import pytest

from segpipe.configuration.audit.configuration import configuration_problems


@pytest.fixture
def problems_in(tmp_path):
    """Return a function that lists the findings in a configuration of a bundle in `tmp_path`, its `@bundle_root`."""

    def look(overridden=(), read=(), /, **configuration):
        whole = {"bundle_root": str(tmp_path), **configuration}
        findings = configuration_problems(whole, [tmp_path], [*map(Path, read)], [*overridden, "bundle_root"])
        return [f"{finding.identifier} {finding.what}" for finding in findings]

    return look
