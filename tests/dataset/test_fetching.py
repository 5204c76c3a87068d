"""fetch against a local server that sends, breaks off, sends wrong bytes, and serves hostile archives."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from segpipe.dataset import (
    Case,
    Download,
    Manifest,
    downloading,
    fetch,
    fetching,
    load_manifest,
    write_manifest,
)
from segpipe.errors import SegpipeError

FILES = {"imagesTr/a.nii": b"image of a" * 5000, "labelsTr/a.nii": b"labels of a" * 3000}
LIMIT = 10**7


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """Serve `files`; `break_after` closes a connection after that many bytes, `ranges` lists the requested ranges."""
    monkeypatch.setattr(downloading, "_PAUSE_S", 0.0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            state.ranges.append(self.headers.get("Range"))
            if self.path not in state.files:
                self.send_error(404)
                return
            content = state.files[self.path]
            first = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1]) if state.resumes else 0
            if first and first >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            if state.tells_length:
                self.send_header("Content-Length", str(len(content) - first))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            broken = state.break_after and first + state.break_after < len(content)
            self.wfile.write(content[first : first + state.break_after] if broken else content[first:])
            if broken:
                self.close_connection = True

        def log_message(self, *_):
            pass

    state = SimpleNamespace(files={}, ranges=[], break_after=0, resumes=True, tells_length=True)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.handle_error = lambda *_: None  # a client that hangs up is meant
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{running.server_port}"
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


def tar_of(files, mode="w:gz", root="Task04/", change=lambda tar: None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        change(tar)
    return buffer.getvalue()


def zip_of(files, root="Task04/"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(root + name, content)
    return buffer.getvalue()


def manifest_of(server, content, name="set.tar.gz", files=FILES, **changes):
    """Serve an archive and return a manifest with its download."""
    server.files[f"/{name}"] = content
    sums = {path: sha256(voxels) for path, voxels in files.items()}
    case = Case("a", ("imagesTr/a.nii",), "labelsTr/a.nii", sha256=sums)
    download = Download(f"{server.url}/{name}", sha256(content), "Task04")
    manifest = Manifest("set", ("MRI",), {0: "background", 1: "b"}, (case,), downloads=(download,))
    return replace(manifest, **changes)


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("pack", "name"),
    [
        (tar_of, "set.tar.gz"),
        (lambda files: tar_of(files, "w"), "set.tar"),
        (lambda files: tar_of(files, "w:xz"), "set.tar.xz"),
        (zip_of, "set.zip"),
    ],
)
def test_the_listed_files_come_and_no_others(server, tmp_path, pack, name):
    content = pack({**FILES, "imagesTr/._a.nii": b"a Mac's", "notes.txt": b"x"})
    manifest = manifest_of(server, content, name)

    assert fetch(manifest, tmp_path / "set", max_bytes=LIMIT) == 2

    assert files_below(tmp_path / "set") == FILES
    asked = len(server.ranges)
    assert fetch(manifest, tmp_path / "set", max_bytes=LIMIT) == 0
    assert len(server.ranges) == asked


def test_a_file_that_somebody_changed_is_replaced_only_on_demand(server, tmp_path):
    manifest = manifest_of(server, tar_of(FILES))
    fetch(manifest, tmp_path, max_bytes=LIMIT)
    changed = tmp_path / "imagesTr" / "a.nii"
    changed.write_bytes(b"corrected")
    asked = len(server.ranges)

    with pytest.raises(
        SegpipeError, match=r"1 file there with another checksum .*imagesTr/a\.nii; .*--overwrite"
    ):
        fetch(manifest, tmp_path, max_bytes=LIMIT)
    assert (changed.read_bytes(), len(server.ranges)) == (b"corrected", asked)

    assert fetch(manifest, tmp_path, max_bytes=LIMIT, overwrite=True) == 1
    assert files_below(tmp_path) == FILES


def test_a_file_that_somebody_made_during_the_download_stays(server, tmp_path, monkeypatch):
    manifest = manifest_of(server, tar_of(FILES))
    download_file = fetching.download_file

    def meanwhile(*arguments, **options):
        download_file(*arguments, **options)
        (tmp_path / "labelsTr").mkdir()
        (tmp_path / "labelsTr" / "a.nii").write_bytes(b"drawn")

    monkeypatch.setattr(fetching, "download_file", meanwhile)

    with pytest.raises(SegpipeError, match=r"1 file there with another checksum .*labelsTr/a\.nii"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert (tmp_path / "labelsTr" / "a.nii").read_bytes() == b"drawn"


def test_a_link_of_that_name_that_leads_nowhere_stays(server, tmp_path):
    manifest = manifest_of(server, tar_of(FILES))
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "a.nii").symlink_to("/nowhere")

    with pytest.raises(SegpipeError, match=r"imagesTr/a\.nii"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)


def test_a_download_of_before_that_was_changed_comes_again(server, tmp_path):
    manifest = manifest_of(server, tar_of(FILES))
    kept = tmp_path / ".segpipe-downloads" / f"{manifest.downloads[0].sha256[:16]}-set.tar.gz"
    kept.parent.mkdir()
    kept.write_bytes(tar_of({**FILES, "imagesTr/a.nii": b"poisoned"}))

    fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert files_below(tmp_path) == FILES


def test_single_files_need_no_archive(server, tmp_path):
    files = {"a.nii": b"image", "a_seg.nii": b"labels"}
    case = Case(
        "a", ("a.nii",), "a_seg.nii", sha256={name: sha256(content) for name, content in files.items()}
    )
    server.files = {f"/x/{name}": content for name, content in files.items()}
    downloads = tuple(Download(f"{server.url}/x/{name}", sha256(content)) for name, content in files.items())

    fetch(Manifest("set", ("CT",), {0: "a", 1: "b"}, (case,), downloads=downloads), tmp_path, max_bytes=LIMIT)

    assert files_below(tmp_path) == files


# --- broken off


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_download_that_breaks_off_goes_on_where_it_was(server, tmp_path, tells_length):
    content = tar_of(FILES, "w")
    server.break_after, server.tells_length = 30_000, tells_length
    manifest = manifest_of(server, content)
    if not tells_length:  # the end looks like any other: the checksum tells
        with pytest.raises(SegpipeError, match="SHA-256 is"):
            fetch(manifest, tmp_path, max_bytes=LIMIT)
        return

    fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert files_below(tmp_path) == FILES
    assert server.ranges == [f"bytes={first}-" for first in range(0, len(content), 30_000)]


def test_a_later_call_goes_on_too(server, tmp_path, monkeypatch):
    content = tar_of(FILES, "w")
    manifest = manifest_of(server, content)
    server.break_after = 30_000
    monkeypatch.setattr(downloading, "_ATTEMPTS", 0)  # nobody waits
    with pytest.raises(SegpipeError, match="run the same command again to continue"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)
    server.break_after = 0

    fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert files_below(tmp_path) == FILES
    assert server.ranges == ["bytes=0-", "bytes=30000-"]


def test_a_later_call_does_not_repeat_a_download_whose_files_are_there(server, tmp_path):
    images = zip_of({"imagesTr/a.nii": FILES["imagesTr/a.nii"]})
    labels = zip_of({"labelsTr/a.nii": FILES["labelsTr/a.nii"]})
    first = manifest_of(server, images, "images.zip").downloads[0]
    manifest = manifest_of(server, labels, "labels.zip")
    manifest = replace(manifest, downloads=(first, *manifest.downloads))
    del server.files["/labels.zip"]
    with pytest.raises(SegpipeError, match="404"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)
    server.files |= {"/labels.zip": labels}
    server.ranges.clear()

    assert fetch(manifest, tmp_path, max_bytes=LIMIT) == 1

    assert len(server.ranges) == 1  # of the label maps alone
    assert files_below(tmp_path) == FILES


def test_a_file_that_was_removed_comes_from_the_same_download_again(server, tmp_path):
    """The archive of the missing file is unpacked, the next archive is not."""
    images = zip_of({"imagesTr/a.nii": FILES["imagesTr/a.nii"]})
    first = manifest_of(server, images, "images.zip").downloads[0]
    manifest = manifest_of(server, zip_of({}), "none.zip")
    manifest = replace(manifest, downloads=(first, *manifest.downloads))
    for _ in range(2):
        with pytest.raises(SegpipeError, match=r"1 files .* in none of its downloads: labelsTr/a\.nii"):
            fetch(manifest, tmp_path, max_bytes=LIMIT)
        (tmp_path / "imagesTr" / "a.nii").unlink()


def test_a_name_longer_than_a_disk_allows(server, tmp_path):
    assert fetch(manifest_of(server, zip_of(FILES), "a" * 300 + ".zip"), tmp_path, max_bytes=LIMIT) == 2


def test_a_server_without_ranges_sends_all_again(server, tmp_path, monkeypatch):
    content = tar_of(FILES, "w")
    manifest = manifest_of(server, content)
    server.break_after, server.resumes = 30_000, False
    monkeypatch.setattr(downloading, "_ATTEMPTS", 0)
    with pytest.raises(SegpipeError, match="cannot be downloaded"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)
    server.break_after = 0

    fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert files_below(tmp_path) == FILES


def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "_PAUSE_S", 0.0)
    download = Download("http://127.0.0.1:9/set.tar", "ab" * 32)
    manifest = Manifest(
        "set", ("CT",), {0: "a", 1: "b"}, (Case("a", ("a.nii",), "b.nii"),), downloads=(download,)
    )

    with pytest.raises(SegpipeError, match=r"cannot be downloaded: .*refused"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)


def test_a_file_that_is_gone(server, tmp_path):
    manifest = manifest_of(server, tar_of(FILES))
    server.files.clear()

    with pytest.raises(SegpipeError, match="the server answers 404 Not Found"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)


# --- lies


def test_other_bytes_than_the_manifest_says_are_not_unpacked(server, tmp_path):
    manifest = manifest_of(server, tar_of(FILES))
    server.files["/set.tar.gz"] = tar_of({**FILES, "imagesTr/a.nii": b"poisoned"})

    with pytest.raises(SegpipeError, match=r"SHA-256 is .*nothing was unpacked"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert files_below(tmp_path) == {}
    server.files["/set.tar.gz"] = tar_of(FILES)


def test_a_file_that_differs_from_its_own_checksum_gets_no_name(server, tmp_path):
    manifest = manifest_of(server, tar_of({**FILES, "labelsTr/a.nii": b"others"}))

    with pytest.raises(SegpipeError, match=r"its a.nii has SHA-256 .* the manifest describes another copy"):
        fetch(manifest, tmp_path, max_bytes=LIMIT)

    assert not (tmp_path / "labelsTr" / "a.nii").exists()


def test_files_that_no_download_has(server, tmp_path):
    manifest = manifest_of(server, tar_of({"imagesTr/a.nii": FILES["imagesTr/a.nii"]}))

    with pytest.raises(
        SegpipeError, match=r"1 files of the manifest are in none of its downloads: labelsTr/a.nii"
    ):
        fetch(manifest, tmp_path, max_bytes=LIMIT)


def test_no_download_is_named(tmp_path):
    with pytest.raises(
        SegpipeError, match=r"names no download; get its files from Medical Segmentation Decathlon"
    ):
        fetch(load_manifest("hippocampus"), tmp_path, max_bytes=LIMIT)


# --- hostile archives


def link(kind, name="Task04/imagesTr/evil", target="/etc/passwd"):
    def change(tar):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)

    return change


def stray(name):
    def change(tar):
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))

    return change


HOSTILE = {
    "symbolic link": link(tarfile.SYMTYPE),
    "hard link": link(tarfile.LNKTYPE),
    "device": link(tarfile.CHRTYPE),
    "above": stray("Task04/../../evil"),
    "absolute": stray("/tmp/evil"),
    "Windows": stray("C:\\evil"),
    "backslashes": stray("Task04\\..\\..\\evil"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tars_write_nothing_outside(server, tmp_path, change):
    manifest = manifest_of(server, tar_of({}, change=change))

    with pytest.raises(SegpipeError, match="is a link, a device or leads out of its folder"):
        fetch(manifest, tmp_path / "in" / "set", max_bytes=LIMIT)

    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_hostile_zips_write_nothing_outside(server, tmp_path):
    manifest = manifest_of(server, zip_of({"../../evil": b"evil"}), "set.zip")

    with pytest.raises(SegpipeError, match="leads out of its folder"):
        fetch(manifest, tmp_path / "in" / "set", max_bytes=LIMIT)

    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_bomb_is_not_unpacked(server, tmp_path, pack):
    bomb = pack({**FILES, "imagesTr/a.nii": bytes(3 * 10**6)})
    assert len(bomb) < 10**5
    manifest = manifest_of(server, bomb, files={**FILES, "imagesTr/a.nii": bytes(3 * 10**6)})

    with pytest.raises(SegpipeError, match=r"unpacked,: has more than 0.001 GB; .* --max-gb"):
        fetch(manifest, tmp_path, max_bytes=10**6)

    assert not (tmp_path / "imagesTr" / "a.nii").exists()


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_download_without_end_ends(server, tmp_path, tells_length):
    server.tells_length = tells_length
    manifest = manifest_of(server, bytes(3 * 10**6))

    with pytest.raises(SegpipeError, match=r"has more than 0.001 GB"):
        fetch(manifest, tmp_path, max_bytes=10**6)

    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 10**6


@pytest.mark.parametrize("damaged", [tar_of(FILES)[:-100], tar_of(FILES, "w")[:30_000]])
def test_a_damaged_archive_is_named(server, tmp_path, damaged):
    manifest = manifest_of(server, damaged)

    with pytest.raises(SegpipeError, match=r"set\.tar\.gz: cannot be unpacked: "):
        fetch(manifest, tmp_path, max_bytes=LIMIT)


def test_downloads_are_kept_in_the_manifest(server, tmp_path):
    manifest = manifest_of(server, b"x")

    write_manifest(manifest, tmp_path / "m.json")

    assert load_manifest(tmp_path / "m.json") == manifest
    for url in ("file:///etc/passwd", "ftp://a/b"):
        with pytest.raises(SegpipeError, match="downloads"):
            write_manifest(replace(manifest, downloads=(Download(url, "ab" * 32),)), tmp_path / "m.json")
