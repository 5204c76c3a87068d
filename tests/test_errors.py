"""SegpipeError, the only error for users, and the text of its message."""

import pytest

from segpipe.disk import disk_error
from segpipe.errors import (
    SegpipeError,
    counted,
    exception_chain,
    raise_interruption,
    raised_during,
    segpipe_cause,
    shown,
)


def test_the_cause_is_found_behind_what_was_raised_from_it():
    refusal = SegpipeError("case_1: NaN")
    outer, outermost = RuntimeError("transform"), RuntimeError("loader")
    outer.__cause__, outermost.__cause__ = refusal, outer

    assert segpipe_cause(outermost) is refusal
    assert segpipe_cause(refusal) is refusal
    assert segpipe_cause(RuntimeError("a defect")) is None
    assert segpipe_cause(None) is None


@pytest.mark.parametrize("explicit", [True, False])
def test_an_interruption_is_found_behind_an_error_that_replaced_it(explicit):
    interruption, replacement = KeyboardInterrupt(), RuntimeError("component")
    setattr(replacement, "__cause__" if explicit else "__context__", interruption)

    with pytest.raises(KeyboardInterrupt) as raised:
        raise_interruption(replacement)

    assert raised.value is interruption
    assert raised.value.__suppress_context__
    assert raised_during(replacement, SegpipeError) is None
    raise_interruption(RuntimeError("a defect"))


def test_a_circular_chain_ends():
    """Whoever raises one exception object twice, each time while the other is handled, makes a circle."""
    first, second = OSError("disk"), RuntimeError("writer")
    first.__context__, second.__cause__ = second, first

    assert list(exception_chain(first)) == [first, second]
    assert raised_during(first, KeyboardInterrupt) is None
    assert segpipe_cause(second) is None
    assert disk_error(first) is None
    raise_interruption(first)


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (list("abcde"), "a, b, c, d, e"), (list("abcdef"), "a, b, c, d, e and 1 more")],
)
def test_some_names_are_shown_and_the_others_counted(names, text):
    assert shown(names) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases")])
def test_a_number_of_things_is_in_the_plural_but_for_one(number, text):
    assert counted(number, "case") == text
