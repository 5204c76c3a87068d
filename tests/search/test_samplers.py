"""A trial's draws depend on seed and place alone."""

import pytest

optuna = pytest.importorskip("optuna")

from segpipe.search.samplers import place_of, sampler_of  # noqa: E402
from segpipe.search.space import Choices, Space, Span  # noqa: E402
from segpipe.search.study import retry_lost, rows_of, suggested  # noqa: E402

GRID = Space({"learning_rate": Choices((1e-4, 1e-3, 3e-3)), "batch_size": Choices((4, 8, 12))})
RANGE = Space({"learning_rate": Span(1e-5, 1e-1, log=True), "batch_size": Span(1, 64, whole=True)})


def study_of(name, space, seed=0, pruner=None):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", sampler=sampler_of(name, space, seed), pruner=pruner)


def test_a_grid_is_exact_whatever_ends_first_and_whatever_is_killed():
    """Nine trials at a time, three of them killed: every combination once, in the table and among the results."""
    study = study_of("grid", GRID)
    trials = [study.ask() for _ in range(5)]
    values = [suggested(trial, GRID) for trial in trials[:4]]  # the fifth is killed before it has values
    study.tell(trials[0], 0.1)
    assert retry_lost(study, 9, all_running=True) == 4
    while len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) < 9:
        trial = study.ask()
        suggested(trial, GRID)
        study.tell(trial, 0.2)

    rows = rows_of(study, GRID, 9)
    assert [row.values for row in rows[:4]] == values
    assert sorted(map(str, (row.values for row in rows))) == sorted(map(str, GRID.grid()))
    assert {row.state for row in rows} == {"finished"}


def test_a_grid_is_exact_where_hyperband_shows_a_sampler_one_bracket_alone():
    pruner = optuna.pruners.HyperbandPruner(max_resource=27)
    study = study_of("grid", GRID, pruner=pruner)
    drawn = []
    for _ in range(9):
        trial = study.ask()
        drawn.append(suggested(trial, GRID))
        trial.report(0.1, 1)
        trial.should_prune()
        study.tell(trial, 0.1)

    assert sorted(map(str, drawn)) == sorted(map(str, GRID.grid()))


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_draws_do_not_depend_on_the_order_of_jobs(name):
    first, second = study_of(name, RANGE), study_of(name, RANGE)
    in_turn = [suggested(first.ask(), RANGE) for _ in range(6)]
    asked = [second.ask() for _ in range(6)]
    backwards = [suggested(trial, RANGE) for trial in reversed(asked)]

    assert in_turn == backwards[::-1]
    assert len({str(values) for values in in_turn}) == 6
    assert [suggested(study_of(name, RANGE, seed=1).ask(), RANGE)] != in_turn[:1]


def test_a_killed_trial_shifts_no_later_one():
    study, whole = study_of("random", RANGE), study_of("random", RANGE)
    expected = [suggested(whole.ask(), RANGE) for _ in range(3)]
    suggested(study.ask(), RANGE)
    retry_lost(study, 3, all_running=True)

    again = [study.ask() for _ in range(3)]
    values = [suggested(trial, RANGE) for trial in again]

    assert values == expected
    frozen = study.get_trials(deepcopy=False)[1:]
    assert [place_of(study, trial) for trial in frozen] == [0, 1, 2]
