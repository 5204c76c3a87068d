"""A configuration, looked at by the audit; nothing of it is run."""

from pathlib import Path

import pytest

from segpipe.configuration.audit.configuration import configuration_problems


@pytest.fixture
def problems_in(tmp_path):
    """Return a function that gives the sentences on a configuration of a bundle in `tmp_path`, its `@bundle_root`."""

    def look(overridden=(), read=(), /, **configuration):
        whole = {"bundle_root": str(tmp_path), **configuration}
        findings = configuration_problems(whole, [tmp_path], [*map(Path, read)], [*overridden, "bundle_root"])
        return [f"{finding.identifier} {finding.what}" for finding in findings]

    return look
