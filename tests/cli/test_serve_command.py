"""`segpipe serve`: what may not start is refused in one message, before the bundle is opened."""

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.serving import run

TOKEN = "0123456789abcdef"


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Return a function that runs the command and returns its one message."""
    monkeypatch.delenv("SEGPIPE_SERVE_TOKEN", raising=False)

    def message(*options, bundle=tmp_path):
        done = CliRunner().invoke(app, ["serve", str(bundle), *map(str, options)])
        assert done.exit_code == 2, done.output
        assert done.stderr.startswith("segpipe: ")
        return done.stderr

    return message


def test_the_extra_that_is_missing_is_named_with_its_command(refused, monkeypatch):
    monkeypatch.setattr(run, "find_spec", lambda name: None)

    assert refused() == (
        "segpipe: fastapi, starlette, uvicorn: not installed; run: pip install 'segpipe[serve]'\n"
    )


def test_an_open_address_needs_a_token(refused, tmp_path, monkeypatch):
    assert "--host is 0.0.0.0: other machines reach this address" in refused("--host", "0.0.0.0")
    (tmp_path / "token").write_text("short\n")
    assert "the token has 5 characters" in refused("--token-file", tmp_path / "token")
    (tmp_path / "bytes").write_bytes(b"\xff" * 20)
    assert "it is no text" in refused("--token-file", tmp_path / "bytes")
    monkeypatch.setenv("SEGPIPE_SERVE_TOKEN", TOKEN)
    assert "is not a bundle" in refused("--host", "0.0.0.0")


def test_limits_out_of_range_are_refused(refused):
    assert "--queue is 0, must be at least 1" in refused("--queue", 0)
    assert "--port is -1, must be from 0 to 65535" in refused("--port", -1)


def test_a_folder_that_is_no_bundle_and_an_address_of_another_machine_are_refused(refused, tmp_path):
    assert "is not a bundle: no configs/metadata.json" in refused()
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text("{}")
    (tmp_path / "token").write_text(TOKEN)

    message = refused("--host", "192.0.2.1", "--token-file", tmp_path / "token", bundle=bundle)

    assert "192.0.2.1:8000: cannot listen there" in message
