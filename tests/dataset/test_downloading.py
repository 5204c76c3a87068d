"""download_file against servers that send slowly, redirect, or answer with malformed data."""

import hashlib
import socket
import threading
import time

import pytest

from segpipe.dataset import Download, downloading
from segpipe.dataset.downloading import download_file
from segpipe.errors import SegpipeError

CONTENT = b"scan" * 500
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
LIMIT = 10**6


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves `answer(connection)` for every connection and returns the URL; pauses are short."""
    monkeypatch.setattr(downloading, "_PAUSE_S", 0.0)
    monkeypatch.setattr(downloading, "_WINDOW_S", 0.3)
    monkeypatch.setattr(downloading, "_TIMEOUT_S", 5.0)
    listening, over = [], threading.Event()

    def begin(answer):
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def go():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(10_000)
                    try:
                        answer(connection)
                    except OSError:  # the client hung up
                        continue

        threading.Thread(target=go, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/a.nii"

    begin.over = over
    yield begin
    over.set()
    for server in listening:
        server.close()


def get(url, folder, max_hours=1.0):
    download_file(
        Download(url, hashlib.sha256(CONTENT).hexdigest()),
        folder / "a.nii",
        max_bytes=LIMIT,
        max_hours=max_hours,
    )


def trickle(connection, content, over, pause_s=0.02):
    for place in range(len(content)):
        if over.is_set():
            return
        connection.sendall(content[place : place + 1])
        time.sleep(pause_s)


def test_a_file_comes(serve, tmp_path):
    get(serve(lambda connection: connection.sendall(HEAD + CONTENT)), tmp_path)

    assert (tmp_path / "a.nii").read_bytes() == CONTENT


@pytest.mark.parametrize("fast", [b"", HEAD, HEAD + CONTENT[:1000]], ids=["headers", "body", "later"])
def test_a_server_that_sends_a_byte_now_and_then_is_too_slow(serve, tmp_path, monkeypatch, fast):
    """50 bytes a second, also in headers; bytes that come at once count in the first window of 0.3 s."""
    monkeypatch.setattr(downloading, "_LEAST_BYTES_PER_S", 5000.0)

    def answer(connection):
        connection.sendall(fast)
        trickle(connection, (HEAD + CONTENT)[len(fast) :], serve.over)

    since = time.monotonic()
    with pytest.raises(
        SegpipeError, match=r"sends [\d.e+]+ bytes a second, must be at least \d+; run the same"
    ):
        get(serve(answer), tmp_path)

    assert time.monotonic() - since < 3


def test_a_slow_line_is_fast_enough(serve, tmp_path, monkeypatch):
    """2000 bytes in 1.2 s, four windows: 1700 bytes a second."""
    monkeypatch.setattr(downloading, "_LEAST_BYTES_PER_S", 1000.0)

    def answer(connection):
        connection.sendall(HEAD)
        for start in range(0, len(CONTENT), 100):
            connection.sendall(CONTENT[start : start + 100])
            time.sleep(0.05)

    get(serve(answer), tmp_path)

    assert (tmp_path / "a.nii").read_bytes() == CONTENT


def test_a_download_has_a_total_time(serve, tmp_path):
    def answer(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not serve.over.is_set():
            connection.sendall(CONTENT)
            time.sleep(0.05)

    with pytest.raises(SegpipeError, match=r"takes longer than 0\.0001 h; .* --max-hours"):
        get(serve(answer), tmp_path, max_hours=0.0001)


def test_a_server_that_ends_after_every_byte_is_given_up(serve, tmp_path):
    asked = []

    def answer(connection):
        asked.append(1)
        have = len(asked) - 1
        connection.sendall(
            f"HTTP/1.1 206 Partial\r\nContent-Range: bytes {have}-1999/2000\r\n"
            f"Content-Length: {2000 - have}\r\n\r\ns".encode()
        )

    with pytest.raises(
        SegpipeError, match="cannot be downloaded: the connection closed before the end of the file"
    ):
        get(serve(answer), tmp_path)

    assert len(asked) == downloading._ATTEMPTS
    assert (tmp_path / "a.nii.part").stat().st_size == downloading._ATTEMPTS


@pytest.mark.parametrize(
    "status", ["429 Too Many Requests", "503 Service Unavailable", "408 Request Timeout"]
)
def test_a_busy_server_is_asked_again(serve, tmp_path, status):
    answers = [f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode(), HEAD + CONTENT]

    get(serve(lambda connection: connection.sendall(answers.pop(0))), tmp_path)

    assert (tmp_path / "a.nii").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file:///etc/passwd", "the server answers 302"),
        ("ftp://127.0.0.1/a", "redirects to ftp://127.0.0.1/a, must be http or https"),
        ("data:,scan", "the server answers 302"),
    ],
)
def test_other_protocols_are_not_followed(serve, tmp_path, place, message):
    answer = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()

    with pytest.raises(SegpipeError, match=message):
        get(serve(lambda connection: connection.sendall(answer)), tmp_path)

    assert not list(tmp_path.iterdir())


def test_the_page_of_a_redirect_is_not_read(serve, tmp_path):
    """The page is endless here; Python's opener would read all of it."""
    moved = serve(lambda connection: connection.sendall(HEAD + CONTENT))

    def answer(connection):
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {moved}\r\n\r\n".encode())
        while not serve.over.is_set():
            connection.sendall(bytes(10**5))

    get(serve(answer), tmp_path)

    assert (tmp_path / "a.nii").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "many", ""])
def test_a_length_that_is_none_counts_as_unknown(serve, tmp_path, length):
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode("latin-1") + CONTENT

    get(serve(lambda connection: connection.sendall(answer)), tmp_path)

    assert (tmp_path / "a.nii").read_bytes() == CONTENT


def test_what_a_server_says_is_shown_escaped(serve, tmp_path):
    answer = b"HTTP/1.1 404 Gone\x1b[2K\x9b\r\nContent-Length: 0\r\n\r\n"

    with pytest.raises(SegpipeError, match=r"the server answers 404 Gone\\x1b\[2K\\x9b; check"):
        get(serve(lambda connection: connection.sendall(answer)), tmp_path)
