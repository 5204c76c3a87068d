"""The cache of converted networks: damaged or foreign files are not used, and a full disk is no error."""

import errno
import json
import os
import shutil

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


@pytest.fixture
def limited(tmp_path, said, monkeypatch):
    """Return a cache of three networks of 1000 bytes together, and of two notes; versions are those of `versions`."""
    monkeypatch.setattr(cache, "_MOST_NETWORKS", 3)
    monkeypatch.setattr(cache, "_MOST_BYTES", 1000)
    monkeypatch.setattr(cache, "_MOST_TIMES", 2)
    monkeypatch.setattr(cache, "engine_versions", lambda engine: {engine: "2"})
    monkeypatch.setattr(cache, "is_installed", lambda engine: engine != "gone")
    return EngineCache(tmp_path / "engines", said.append)


def key_of(name, engine="openvino", version="2"):
    return {"engine": engine, "network": name, "versions": {engine: version}}


def keep(made, used, *names, size=10, **key):
    """Keep networks whose last use was at a time."""
    for name in names:
        made.keep(key_of(name, **key), {"network.bin": bytes(size)})
        os.utime(made._place(key_of(name, **key)) / "content.json", (used, used))


def found(made, *names, **key):
    return [name for name in names if made._place(key_of(name, **key)).exists()]


def test_the_network_that_was_not_used_for_longest_is_removed(limited):
    keep(limited, 1e9, "a")
    keep(limited, 1e9 + 1, "b")
    keep(limited, 1e9 + 2, "c")
    assert limited.files(key_of("a"))  # which is its last use

    keep(limited, 1e9 + 3, "d")

    assert found(limited, *"abcd") == ["a", "c", "d"]


@pytest.mark.parametrize("old", [{"version": "1"}, {"engine": "gone"}], ids=["version", "engine"])
def test_networks_that_no_engine_here_reads_are_removed_first(limited, old):
    keep(limited, 1e9, "a", "b")
    keep(limited, 2e9, "old", **old)

    keep(limited, 1e9 + 1, "c")

    assert found(limited, *"abc") == ["a", "b", "c"]
    assert not found(limited, "old", **old)


def test_bytes_are_limited_and_the_newest_network_stays(limited):
    keep(limited, 1e9, "a", "b", size=200)  # and 150 bytes of content.json each

    keep(limited, 1e9 + 1, "large", size=2000)

    assert found(limited, "a", "b", "large") == ["large"]


def test_the_oldest_notes_are_removed(limited):
    for second, name in enumerate("abc"):
        limited.note(key_of(name), second)
        os.utime(limited._note(key_of(name)), (second, second))
    limited.note(key_of("d"), 3)

    assert [limited.noted(key_of(name)) for name in "abcd"] == [None, None, 2, 3]


def test_remains_of_killed_processes_are_removed_and_strangers_stay(limited):
    keep(limited, 1e9, "a")
    networks = limited.folder / "networks"
    for name in (".removed-killed", ".segpipe-now", "mine"):
        (networks / name).mkdir()
    for name in (".removed-killed", "mine"):
        os.utime(networks / name, (1e9, 1e9))

    keep(limited, 1e9, "b", "c", "d", "e")

    assert {path.name for path in networks.iterdir() if len(path.name) < 64} == {".segpipe-now", "mine"}


def test_another_process_may_remove_a_network_at_any_time(limited, monkeypatch, said):
    """Folders vanish between the listing and the look at their files."""
    keep(limited, 1e9, "a", "b", "c")
    listed = cache._inside

    def inside(folder):
        paths = listed(folder)
        if folder.name == "networks":
            shutil.rmtree(limited._place(key_of("a")), ignore_errors=True)
        return paths

    monkeypatch.setattr(cache, "_inside", inside)

    keep(limited, 1e9 + 1, "d")

    assert found(limited, *"abcd") == ["b", "c", "d"]
    assert said == []


def test_what_is_kept_can_be_listed(kept):
    (one,) = kept.networks()

    assert (one.place, one.is_current) == (place(kept), False)  # its key has no versions
    assert one.size == sum(path.stat().st_size for path in place(kept).iterdir())


def test_a_cache_that_does_not_write_leaves_every_file_as_it_is(kept, said):
    path = place(kept) / "content.json"
    os.utime(path, (1e9, 1e9))
    reader = EngineCache(kept.folder, said.append, writes=False)

    assert reader.files(KEY) == FILES
    reader.forget(KEY)
    reader.keep({**KEY, "network": "b"}, FILES)
    reader.note({**KEY, "network": "b"}, 1)

    assert path.stat().st_mtime == 1e9
    assert kept.files({**KEY, "network": "b"}) is None
    assert kept.noted({**KEY, "network": "b"}) is None
    assert said == []
