"""The commit of segpipe that made a result."""

import subprocess

import pytest

from segpipe.provenance import commit


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """Return a package in a separate repository."""
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(package, "init")
    git(package, "add", ".")
    git(package, "commit", "-m", "first")
    return package


def test_the_commit_is_the_checkouts(checkout):
    clean = commit(checkout)
    (checkout / "__init__.py").write_text("changed = True")

    assert len(clean) == 12
    assert commit(checkout) == f"{clean}-dirty"


def test_a_package_installed_below_a_repository_has_no_commit(checkout):
    """A virtual environment may lie in the user's repository, whose commit is not segpipe's."""
    installed = checkout / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")

    assert commit(installed) is None


def test_outside_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert commit(tmp_path) is None
