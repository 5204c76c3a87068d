"""What torchrun tells a process, and how peers say a refusal only once."""

import pytest

from segpipe import monai_run
from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run
from segpipe.ranks import (
    has_refused,
    is_first_to_lose_peers,
    is_first_to_say,
    is_of_torchrun,
    note_run,
    noted_refusal,
    noted_run,
    rank,
    restarts,
    world_size,
)


@pytest.fixture
def become(tmp_path, monkeypatch):
    """Return a function that makes this process a rank of torchrun, in an attempt."""

    def become(number, attempt=0):
        folder = tmp_path / "none_abc" / f"attempt_{attempt}" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "TORCHELASTIC_RUN_ID": "none",
            "TORCHELASTIC_ERROR_FILE": str(folder / "error.json"),
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
            "RANK": str(number),
            "WORLD_SIZE": "2",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return become


def test_a_process_without_torchrun_is_alone(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # of some other program
    monkeypatch.setenv("WORLD_SIZE", "4")

    assert (is_of_torchrun(), rank(), world_size(), restarts()) == (False, 0, 1, 0)
    assert [is_first_to_say("a"), is_first_to_say("a")] == [True, True]
    assert not has_refused()
    note_run("anywhere")


def test_two_ranks_say_a_refusal_once_and_do_not_start_again(become, tmp_path):
    become(1)
    assert not noted_refusal(tmp_path)
    assert (is_of_torchrun(), rank(), world_size(), restarts(), has_refused()) == (True, 1, 2, 0, False)
    assert is_first_to_say("case_1: NaN")
    become(0)
    assert not is_first_to_say("case_1: NaN")
    assert is_first_to_say("case_2: NaN")
    become(0, attempt=1)
    assert (restarts(), has_refused()) == (1, True)
    assert noted_refusal(tmp_path)


def test_one_rank_of_an_attempt_says_that_the_peers_are_lost_and_all_start_again(become, tmp_path):
    become(1)
    assert is_first_to_lose_peers()
    become(0)
    assert not is_first_to_lose_peers()
    become(0, attempt=1)
    assert is_first_to_lose_peers()
    assert not has_refused()
    assert not noted_refusal(tmp_path)


def test_a_rank_notes_the_run_for_who_started_torchrun(become, tmp_path):
    become(0)
    assert noted_run(tmp_path) is None

    note_run(tmp_path / "runs" / "a")

    assert noted_run(tmp_path) == tmp_path / "runs" / "a"


def test_torchrun_without_a_folder_lets_every_rank_speak(become, monkeypatch):
    become(0)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", "")

    assert [is_first_to_say("a"), is_first_to_say("a")] == [True, True]


def test_only_one_rank_ends_with_the_message(become, monkeypatch):
    monkeypatch.setattr(monai_run, "is_monai_run", lambda: True)
    codes = []
    for number in (0, 1):
        become(number)
        with pytest.raises(SystemExit) as ended, refusal_ends_run():
            raise SegpipeError("case_1: NaN")
        codes.append(ended.value.code)

    assert codes == ["segpipe: case_1: NaN", 1]
