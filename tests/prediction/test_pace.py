"""How often a table is written while a cohort runs."""

import pytest

from segpipe.prediction import pace


@pytest.mark.parametrize(
    ("takes", "times"),
    [(0.1, [5, 11, 17, 23, 29]), (1.0, [5, 25, 45, 65, 85])],  # 1 s in 20
    ids=["a small table", "a large table"],
)
def test_writing_takes_at_most_a_twentieth_of_the_time(monkeypatch, takes, times):
    now, written = [0.0], []
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    pacing = pace.Pace()

    def write():
        written.append(now[0])
        now[0] += takes

    for second in range(91):
        now[0] = max(now[0], float(second))
        pacing.write_if_due(write)

    assert written[:5] == times
