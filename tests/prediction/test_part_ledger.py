"""A part's lock, ledger and staging folder in the output folder."""

import pytest
from cohort_files import KilledError

from segpipe.prediction.part import CohortPart
from segpipe.prediction.part_ledger import locked_part, part_ledgers

PART = CohortPart(3, 2)


def test_a_part_that_is_refused_leaves_no_ledger(out):
    """Of another number of parts, it would hinder the merge of the others."""
    with pytest.raises(KilledError), locked_part(out, PART):
        raise KilledError

    assert part_ledgers(out) == {}


def test_a_part_that_ends_early_keeps_its_finished_scans(out):
    def begin_and_fail():
        with locked_part(out, PART):
            (out / PART.ledger_file).write_text("{}\n")
            raise KilledError

    with pytest.raises(KilledError):
        begin_and_fail()

    assert part_ledgers(out) == {PART: out / PART.ledger_file}
