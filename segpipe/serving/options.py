"""The options of `serve`: address, token and limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError

TOKEN_VARIABLE = "SEGPIPE_SERVE_TOKEN"  # noqa: S105 - the name of a variable
SHORTEST_TOKEN = 16
_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ServeLimits:
    """What an upload may cost; the process with the network gets these, too.

    Attributes:
        megabytes: largest upload, in MiB.
        unpacked_megabytes: largest content of a zip, in MiB.
        files: largest number of files in a zip.
        voxels: largest number of voxels of a scan, over all its channels.
        seconds: longest time from unpacking to the label map; the process with the network is then ended.
    """

    megabytes: int = 2048
    unpacked_megabytes: int = 8192
    files: int = 20_000
    voxels: int = 1_000_000_000
    seconds: float = 600.0

    @property
    def upload_bytes(self) -> int:
        """Largest upload, in bytes."""
        return self.megabytes * _MEBIBYTE

    @property
    def unpacked_bytes(self) -> int:
        """Largest content of a zip, in bytes."""
        return self.unpacked_megabytes * _MEBIBYTE


@dataclass(frozen=True)
class ServeOptions:
    """Options of `serve`.

    Attributes:
        host: address to listen on.
        port: of the address; 0: a free one.
        token: clients send it as `Authorization: Bearer TOKEN`; None: whoever reaches the address may ask.
        limits: of an upload.
        queue: largest number of scans that are received, wait or are computed.
        results: largest number of results that nobody has fetched.
        upload_seconds: longest time for an upload.
        keep_seconds: time after which a result that nobody fetched is deleted.
        scratch: folder for uploads and results; None: the system's folder for temporary files.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    limits: ServeLimits = ServeLimits()
    queue: int = 8
    results: int = 32
    upload_seconds: float = 300.0
    keep_seconds: float = 600.0
    scratch: Path | None = None

    def check(self) -> None:
        """Refuse values out of range, and an open address without a token.

        Raises:
            SegpipeError: with the option, its value and the allowed values.
        """
        limits = self.limits
        for option, value in (
            ("--queue", self.queue),
            ("--results", self.results),
            ("--max-megabytes", limits.megabytes),
            ("--max-unpacked-megabytes", limits.unpacked_megabytes),
            ("--max-files", limits.files),
            ("--max-voxels", limits.voxels),
            ("--max-seconds", limits.seconds),
            ("--upload-seconds", self.upload_seconds),
            ("--keep-seconds", self.keep_seconds),
        ):
            if not 1 <= value < float("inf"):  # NaN compares as False
                raise SegpipeError(f"{option} is {value:g}, must be at least 1")
        if not 0 <= self.port <= 65535:
            raise SegpipeError(f"--port is {self.port}, must be from 0 to 65535")
        self._check_token()

    def _check_token(self) -> None:
        if self.token is None:
            if is_loopback(self.host):
                return
            raise SegpipeError(
                f"--host is {self.host}: other machines reach this address, so a token is needed; write one of at "
                f"least {SHORTEST_TOKEN} characters to a file and give --token-file FILE, or set {TOKEN_VARIABLE}; "
                "without a token segpipe listens on 127.0.0.1 only"
            )
        if len(self.token) < SHORTEST_TOKEN:
            raise SegpipeError(
                f"the token has {len(self.token)} characters, must be at least {SHORTEST_TOKEN}; make one, such as by "
                "`openssl rand -hex 32`"
            )
        if not all("!" <= character <= "~" for character in self.token):
            raise SegpipeError(
                "the token has a space or a character that is not ASCII, which a header cannot hold; make one, such as "
                "by `openssl rand -hex 32`"
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address; of names only `localhost` counts."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
