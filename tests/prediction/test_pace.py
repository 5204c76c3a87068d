"""How often a table is written while a cohort runs."""

import pytest

from segpipe.prediction import pace


@pytest.mark.parametrize(
    ("takes", "times"),
    [(0.1, [0, 6, 12, 18, 24]), (1.0, [0, 20, 40, 60, 80])],  # 1 s in 20
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
