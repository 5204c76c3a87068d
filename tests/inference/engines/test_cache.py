"""The cache of converted networks: damaged or foreign files are not used, and a full disk is no error."""

import errno
import json

import pytest

from segpipe.inference.engines import cache
from segpipe.inference.engines.cache import EngineCache

KEY = {"engine": "openvino", "network": "a", "window": [1, 1, 8, 8, 8]}
FILES = {"network.xml": b"<net/>", "network.bin": bytes(range(100))}


@pytest.fixture
def said():
    return []


@pytest.fixture
def kept(tmp_path, said):
    """Return a cache that has files and a note."""
    made = EngineCache(tmp_path / "engines", said.append)
    made.keep(KEY, FILES)
    made.note(KEY, [1, 2])
    return made


def place(kept):
    (folder,) = (kept.folder / "networks").iterdir()
    return folder


def test_what_is_kept_is_found_under_its_key_alone(kept):
    assert kept.files(KEY) == FILES
    assert kept.noted(KEY) == [1, 2]
    assert kept.files({**KEY, "network": "b"}) is None
    assert kept.noted({**KEY, "network": "b"}) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "network.bin").write_bytes(FILES["network.bin"][:50]),
        lambda folder: (folder / "network.bin").write_bytes(b"\xff" + FILES["network.bin"][1:]),
        lambda folder: (folder / "network.xml").unlink(),
        lambda folder: (folder / "content.json").write_text('{"key": '),
        lambda folder: (folder / "content.json").write_text("[]"),
        lambda folder: (folder / "content.json").write_text(json.dumps({"key": KEY})),
        lambda folder: (folder / "content.json").write_text(json.dumps({"key": KEY, "files": 3})),
        lambda folder: (folder / "content.json").write_text(json.dumps({"key": {}, "files": {}})),
        lambda folder: (folder / "content.json").write_text(
            json.dumps({"key": KEY, "files": {"../../times": "0"}})
        ),
    ],
    ids=["cut short", "a byte", "missing", "half JSON", "a list", "no files", "a number", "key", "elsewhere"],
)
def test_damaged_files_are_not_used_and_are_replaced(kept, said, damage):
    damage(place(kept))

    assert kept.files(KEY) is None
    kept.keep(KEY, FILES)
    assert kept.files(KEY) == FILES
    assert said == []


@pytest.mark.parametrize("text", ["", "[1]", '{"key": {}, "value": 1}'])
def test_a_damaged_note_counts_as_none(kept, text):
    (path,) = (kept.folder / "times").iterdir()
    path.write_text(text)

    assert kept.noted(KEY) is None


def test_a_forgotten_network_is_gone(kept):
    kept.forget(KEY)

    assert kept.files(KEY) is None


def test_a_folder_that_takes_no_file_is_reported_once(tmp_path, said):
    (tmp_path / "file").write_text("no folder")
    made = EngineCache(tmp_path / "file" / "engines", said.append)

    made.keep(KEY, FILES)
    made.note(KEY, 1)

    assert made.files(KEY) is None
    (message,) = said
    assert (
        "file/engines: converted networks and measured times cannot be kept there (Not a directory)"
        in message
    )


def test_a_full_disk_is_reported_once_and_leaves_nothing(kept, said, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "write_json", full)

    kept.keep({**KEY, "network": "b"}, FILES)
    kept.note({**KEY, "network": "b"}, 1)

    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert [path.name for path in (kept.folder / "networks").iterdir()] == [place(kept).name]


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / name))

    assert EngineCache().folder == tmp_path / "segpipe" / "engines"
