"""A configuration, looked at by the audit; nothing of it is run."""

from pathlib import Path

import pytest

from segpipe.configuration.audit.configuration import configuration_problems


@pytest.fixture
def found(tmp_path):
    """Return a function that gives the sentences on a configuration of a bundle in `tmp_path`, its `@bundle_root`."""

    def look(own=(), read=(), /, **configuration):
        whole = {"bundle_root": str(tmp_path), **configuration}
        problems = configuration_problems(whole, [tmp_path], [*map(Path, read)], [*own, "bundle_root"])
        return [f"{finding.identifier} {finding.what}" for finding in problems]

    return look
