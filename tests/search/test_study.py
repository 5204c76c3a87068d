"""Studies that exist, and studies of something else."""

import pytest

optuna = pytest.importorskip("optuna")

from segpipe.errors import SegpipeError  # noqa: E402
from segpipe.search.samplers import sampler_of  # noqa: E402
from segpipe.search.space import Choices, Space  # noqa: E402
from segpipe.search.study import best_row, is_double, open_study, plotted_study, rows_of, suggested  # noqa: E402

SPACE = Space({"stages": Choices(([8], [8, 16]))})
RECORD = {"bundle": "tiny", "space": SPACE.as_plain(), "folds": [0]}


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens the study of a search."""

    def opening(storage=None, name="search", **changes):
        sampler, pruner = sampler_of("grid", SPACE, 0), optuna.pruners.NopPruner()
        return open_study(storage, name, tmp_path, {**RECORD, **changes}, sampler, pruner)

    return opening


def test_a_study_goes_on_and_its_best_trial_is_the_first_of_equal_ones(opened):
    study = opened()
    for _ in range(2):
        trial = study.ask()
        suggested(trial, SPACE)
        study.tell(trial, 0.5)

    rows = rows_of(opened(), SPACE)
    assert [row.place for row in rows] == [0, 1]
    assert best_row(rows).place == 0
    assert sorted(row.values["stages"] for row in rows) == [[8], [8, 16]]
    assert len(plotted_study(rows, SPACE).trials) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundle": "other"}, "the study search is of another bundle: tiny then, other now"),
        (
            {"space": {"stages": [[8]]}},
            "is of another space: .* then, .* now; give the same, or choose another study",
        ),
        ({"folds": [0, 1]}, r"is of other folds: \[0\] then, \[0, 1\] now"),
    ],
)
def test_a_study_of_something_else_is_refused(opened, changes, message):
    opened()

    with pytest.raises(SegpipeError, match=message):
        opened(**changes)
    opened(name="second", **changes)


def test_a_study_of_another_program_is_refused(opened, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="search", direction="maximize").add_trial(
        optuna.create_trial(value=1.0)
    )

    with pytest.raises(SegpipeError, match="its study search was not written by segpipe search"):
        opened()


@pytest.mark.parametrize("url", ["no-url", "nothing://host/name"])
def test_a_storage_that_cannot_be_opened_is_refused(opened, url):
    with pytest.raises(
        SegpipeError, match=r"cannot be opened as Optuna's storage: .*; give --storage a URL such as"
    ):
        opened(storage=url)


def test_a_message_has_no_password_of_the_storage(opened, tmp_path):
    with pytest.raises(SegpipeError, match="cannot be opened") as refused:
        opened(storage="nothing://user:secret@host/name")

    assert "nothing://user:***@host/name" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(opened, tmp_path):
    (tmp_path / "study.db").write_text("no database, but long enough to look at" * 50)

    with pytest.raises(
        SegpipeError, match=r"study\.db: cannot be opened as Optuna's storage: .*not a database"
    ):
        opened()


def test_the_second_retry_of_a_trial_is_a_double(opened):
    """Two machines may see the same lost trial."""
    study = opened()
    lost = study.ask()
    study.tell(lost, state=optuna.trial.TrialState.FAIL)
    for _ in range(2):
        optuna.storages.RetryHeartbeatStaleTrialCallback()(study, study.trials[0])

    assert [is_double(study, trial) for trial in study.trials] == [False, False, True]
