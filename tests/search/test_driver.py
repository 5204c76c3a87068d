"""The trials of a search with trainings that take no time."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

optuna = pytest.importorskip("optuna")

from segpipe.errors import SegpipeError  # noqa: E402
from segpipe.search import driver  # noqa: E402
from segpipe.search.driver import Driver, SearchOptions  # noqa: E402
from segpipe.search.experiment import RepeatedExperiment, ResolvedExperiment  # noqa: E402
from segpipe.search.page import override_file, search_page, trials_csv  # noqa: E402
from segpipe.search.samplers import sampler_of  # noqa: E402
from segpipe.search.search import SearchResult  # noqa: E402
from segpipe.search.space import Choices, Space  # noqa: E402
from segpipe.search.study import open_study, rows_of  # noqa: E402
from segpipe.search.trainings import RunState  # noqa: E402

SPACE = Space({"rate": Choices((0.1, 0.2, 0.3)), "batch": Choices((1, 2))})
MEMORY = "memory"
RECORD = {
    "bundle": "made",
    "space": SPACE.as_plain(),
    "overrides": {},
    "folds": [0, 1],
    "sampler": "grid",
    "pruner": "none",
    "seed": 0,
}


@dataclass(frozen=True)
class MadeExperiment(RepeatedExperiment):
    """An experiment without a bundle."""

    task = "segmentation"

    def settings(self, fold):
        return {"epochs": 2}


class Killed(BaseException):
    """The end of the process, as far as a test can have it."""


class Trainings:
    """What stands in for trainings: a run's scores are rate * batch + fold / 10, after half of it in epoch 1."""

    def __init__(self):
        self.trained, self.finished, self.kill_at, self.fail = [], set(), -1, {}

    def __call__(self, planned, environment, tell):
        self.trained.append(planned.name)
        self.planned = planned
        if len(self.trained) == self.kill_at:
            raise Killed
        return self

    def status(self):
        name = self.planned.name
        if name not in self.fail:
            self.finished.add(self.planned.folder.path)
        return self.fail.get(name, 0)

    def stop(self):
        pass

    def wait(self):
        return 0

    def score(self, planned_folder, overrides):
        fold = int(planned_folder.path.name.removeprefix("fold_"))
        return overrides["rate"] * overrides["batch"] + fold / 10


@pytest.fixture
def trainings(monkeypatch):
    made = Trainings()
    by_folder = {}

    def started(planned, environment, tell):
        by_folder[planned.folder.path] = planned.experiment.overrides
        return made(planned, environment, tell)

    class MadeValidations:
        def __init__(self, run, task, configuration):
            self.run = run

        def by_epoch(self):
            score = made.score(self.run, by_folder[self.run.path])
            return {1: score / 2, 2: score}

    monkeypatch.setattr(driver, "TrainingProcess", started)
    monkeypatch.setattr(driver, "Validations", MadeValidations)
    monkeypatch.setattr(driver, "best_validation", lambda run: made.score(run, by_folder[run.path]))
    monkeypatch.setattr(driver, "failure", lambda training, status: f"exit status {status}")
    monkeypatch.setattr(driver, "require_same_run", lambda *_: None)
    monkeypatch.setattr(
        driver, "run_state", lambda run: RunState.FINISHED if run.path in made.finished else RunState.ABSENT
    )
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.01)
    return made


STUDIES = {}  # folder -> its study in memory, which tests keep as a file would be kept


def study_in(output, storage, sampler, pruner):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = sampler_of(sampler, SPACE, 0), pruner or optuna.pruners.NopPruner()
    if storage != MEMORY:
        return open_study(storage, "search", output, RECORD, *chosen, 1)
    if output not in STUDIES:
        STUDIES[output] = optuna.create_study(direction="maximize", sampler=chosen[0], pruner=chosen[1])
    return STUDIES[output]


def search(output, trials=6, jobs=1, sampler="grid", pruner=None, storage=MEMORY, **options):
    output.mkdir(exist_ok=True)
    study = study_in(output, storage, sampler, pruner)
    storage = None if storage == MEMORY else storage
    resolved = ResolvedExperiment(MadeExperiment(Path("made")), "m", Path("d"), {"epochs": 2}, checksums=True)
    name = "none" if pruner is None else "median"
    given = SearchOptions(trials, (0, 1), jobs, sampler, name, storage=storage, **options)
    Driver(study, SPACE, resolved, output, given, 1, lambda _: None).run()
    return SearchResult(rows_of(study, SPACE, trials), SPACE, RECORD)


def test_a_trial_scores_the_mean_of_its_folds(trainings, tmp_path):
    result = search(tmp_path)

    assert result.is_whole
    for row in result.rows:
        product = row.values["rate"] * row.values["batch"]
        assert row.value == pytest.approx(product + 0.05)  # folds 0 and 1: +0 and +0.1
        assert row.intermediate == pytest.approx(
            {1: product / 2, 2: product, 3: (1.5 * product + 0.05) / 2, 4: product + 0.05}
        )
    assert override_file(result).splitlines()[1:] == ["rate: 0.3", "batch: 2"]


def test_several_jobs_and_one_give_the_same_table(trainings, tmp_path):
    assert trials_csv(search(tmp_path / "one")) == trials_csv(search(tmp_path / "three", jobs=3))


@pytest.mark.parametrize(
    ("kill_at", "storage"),
    [(1, MEMORY), (4, MEMORY), (12, MEMORY), pytest.param(12, None, marks=pytest.mark.slow)],
)
def test_a_search_that_is_killed_and_started_again_gives_the_same_table(
    trainings, tmp_path, kill_at, storage
):
    whole = search(tmp_path / "whole")
    trainings.trained.clear()
    trainings.kill_at = kill_at

    with pytest.raises(Killed):
        search_until_killed(tmp_path / "killed", storage)
    trainings.kill_at = -1
    again = search(tmp_path / "killed", storage=storage)

    assert trials_csv(again) == trials_csv(whole)
    assert len(trainings.trained) == 12 + 1  # the killed training, and no other, is started twice


def search_until_killed(output, storage):
    """Search; a BaseException ends a slot's thread and leaves its trial running, as SIGKILL does."""
    found = []
    original = Driver._work

    def work(self, slot):
        try:
            original(self, slot)
        except Killed as error:
            found.append(error)

    Driver._work = work
    try:
        search(output, storage=storage)
    finally:
        Driver._work = original
    raise found[0]


def test_a_failed_trial_is_listed_and_costs_no_other(trainings, tmp_path):
    trainings.fail = {"trial 2, fold 1": 1}

    result = search(tmp_path)

    assert [row.state for row in result.rows] == ["finished"] * 2 + ["failed"] + ["finished"] * 3
    assert result.rows[2].reason == "exit status 1"
    assert math.isnan(result.rows[2].value)
    assert [row.state for row in search(tmp_path).rows].count("failed") == 1  # a refusal is not tried again


def test_a_trial_whose_training_was_killed_goes_on_with_the_next_start(trainings, tmp_path):
    trainings.fail = {"trial 2, fold 1": -9}
    assert search(tmp_path).rows[2].state == "failed"
    trainings.fail = {}

    assert {row.state for row in search(tmp_path).rows} == {"finished"}


def test_a_trial_that_another_machine_has_given_up_ends_no_search(trainings, tmp_path):
    """As after a machine that slept: its trial counts as lost while the training goes on."""
    status = trainings.status

    def sleeping():
        if trainings.planned.name == "trial 2, fold 1" and not sleeping.over:
            sleeping.over = True
            study = STUDIES[tmp_path]
            study.tell(study.trials[2].number, state=optuna.trial.TrialState.FAIL)
        return status()

    sleeping.over = False
    trainings.status = sleeping

    assert [row.state for row in search(tmp_path).rows] == ["finished"] * 2 + ["failed"] + ["finished"] * 3
    assert {row.state for row in search(tmp_path).rows} == {"finished"}


def test_more_trials_later_continue_the_grid(trainings, tmp_path):
    first = search(tmp_path, trials=2)
    all_of_them = search(tmp_path, trials=6)

    assert all_of_them.rows[:2] == first.rows
    assert sorted(map(str, (row.values for row in all_of_them.rows))) == sorted(map(str, SPACE.grid()))


def test_a_poor_trial_is_pruned_at_the_step_that_shows_it(trainings, tmp_path):
    pruner = optuna.pruners.ThresholdPruner(lower=0.1)  # of epoch 1: half of rate * batch

    result = search(tmp_path, pruner=pruner)

    pruned = {
        (row.values["rate"], row.values["batch"]): row.value for row in result.rows if row.state == "pruned"
    }
    assert pruned == {(0.1, 1): pytest.approx(0.05)}
    assert "trial 0 of 6" not in override_file(result) or result.rows[0].state == "finished"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize")
def test_a_lost_trial_of_another_machine_is_resumed_after_its_last_sign_of_life(trainings, tmp_path):
    """The storage's clock has seconds, and the first sign of life is made old by hand."""
    from sqlalchemy import create_engine, text

    url = f"sqlite:///{tmp_path / 'shared.db'}"
    study = open_study(
        url, "search", tmp_path, RECORD, sampler_of("grid", SPACE, 0), optuna.pruners.NopPruner(), 1
    )
    lost = study.ask()
    study._storage.record_heartbeat(lost._trial_id)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    engine.dispose()

    result = search(tmp_path, storage=url)

    assert [row.state for row in result.rows] == ["finished"] * 6
    assert sorted(map(str, (row.values for row in result.rows))) == sorted(map(str, SPACE.grid()))


def test_a_storage_that_fails_ends_the_search_with_its_reason(trainings, tmp_path, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def failing(self):
        raise OperationalError("SELECT", {}, Exception("disk is full"))

    monkeypatch.setattr(Driver, "_left", failing)

    with pytest.raises(SegpipeError, match=r"study\.db: Optuna's storage fails: .*disk is full"):
        search(tmp_path)


def test_searches_on_a_storage_of_several_machines_may_share_a_folder(tmp_path):
    from segpipe.search.search import _alone_in

    with _alone_in(tmp_path, None):
        with pytest.raises(SegpipeError, match="another segpipe search works there now"):
            _alone_in(tmp_path, None).__enter__()
        with _alone_in(tmp_path, "sqlite:////shared/study.db"):
            pass


def test_a_split_without_validation_cases_gives_no_score():
    from segpipe.dataset.manifest import Split
    from segpipe.search.search import _require_validations

    manifest = SimpleNamespace(
        name="m", splits={"with": Split(("a",), ("b",)), "without": Split(("a",), (), ("b",))}
    )

    _require_validations((0, "with"), manifest)
    with pytest.raises(SegpipeError, match="m: its split without has no validation cases"):
        _require_validations(("with", "without"), manifest)


def test_the_page_needs_no_network_and_has_optunas_plots(trainings, tmp_path):
    page = search_page(search(tmp_path))

    assert page.count("Plotly.newPlot(") == 5
    assert "<script src=" not in page
    assert "Importance of each id" in page


def test_without_a_finished_trial_there_is_nothing_to_export(trainings, tmp_path):
    trainings.fail = {f"trial {place}, fold 0": 2 for place in range(6)}
    result = search(tmp_path)

    assert "nothing to plot" in search_page(result)
    with pytest.raises(SegpipeError, match="none of 6 trials has finished"):
        override_file(result)
