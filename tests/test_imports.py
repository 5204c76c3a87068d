"""The rooms depend on each other in one direction; pyproject.toml says which."""

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_dependencies_point_one_way(capsys, monkeypatch, pytestconfig):
    monkeypatch.chdir(pytestconfig.rootpath)

    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS, capsys.readouterr().out
