"""What torchrun tells a process about itself and its peers, and how peers say a thing only once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

LOST_PEER = 77
"""Exit status of a process that ends because another one did: the reason is the other's."""
_RUN_ID = "TORCHELASTIC_RUN_ID"
_SAID, _RUN, _LOST = "said-", "run", "lost-"


def is_of_torchrun() -> bool:
    """Return whether torchrun started this process."""
    return _RUN_ID in os.environ


def run_id() -> str:
    """Return torchrun's name of this start; empty without torchrun. It stays the same when torchrun starts again."""
    return os.environ.get(_RUN_ID, "")


def rank() -> int:
    """Return the number of this process among those of all machines; 0 without torchrun."""
    return int(os.environ.get("RANK", "0")) if is_of_torchrun() else 0


def world_size() -> int:
    """Return the number of processes of all machines; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if is_of_torchrun() else 1


def restarts() -> int:
    """Return how often torchrun has started this process again, after one of its peers ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def is_first_to_say(text: str) -> bool:
    """Return whether no peer on this machine has said this; from now on one has.

    Without torchrun, or where torchrun keeps no folder, each process says everything.

    Args:
        text: a refusal, which ends all processes.
    """
    return _is_first(f"{_SAID}{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}")


def is_first_to_lose_peers() -> bool:
    """Return whether no peer on this machine has lost the others since the last start; from now on one has."""
    return _is_first(f"{_LOST}{restarts()}")


def has_refused() -> bool:
    """Return whether a process of this start refused something; starting again would repeat it."""
    folder = _folder()
    return folder is not None and any(folder.glob(f"{_SAID}*"))


def note_run(path: Path) -> None:
    """Tell the process that runs torchrun the folder of the run."""
    folder = _folder()
    if folder is not None:
        (folder / _RUN).write_text(str(path), encoding="utf-8")


def noted_run(log_dir: Path) -> Path | None:
    """Return the folder of the run; None if it was not made.

    Args:
        log_dir: torchrun's folder, its `--log-dir`.
    """
    return next((Path(note.read_text(encoding="utf-8")) for note in log_dir.glob(f"*/{_RUN}")), None)


def noted_refusal(log_dir: Path) -> bool:
    """Return whether a process on this machine refused something, and said so.

    Args:
        log_dir: torchrun's folder, its `--log-dir`.
    """
    return any(log_dir.glob(f"*/{_SAID}*"))


def _is_first(name: str) -> bool:
    folder = _folder()
    if folder is None:
        return True
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _folder() -> Path | None:
    """Return the folder that torchrun keeps for the processes of a start on this machine.

    The file for an error is `<folder>/attempt_<restarts>/<local rank>/error.json`.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE", "") if is_of_torchrun() else ""
    folder = Path(file).parents[2] if len(Path(file).parts) > 3 else None
    return folder if folder is not None and folder.is_dir() else None
