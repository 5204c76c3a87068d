"""What is printed of a cohort: of many failures the first ones."""

from types import SimpleNamespace

from segpipe.cli.cohort import print_failures


def test_of_many_failures_the_first_are_shown(capsys):
    failed = [SimpleNamespace(case=f"case_{number:02}", reason="no scan") for number in range(22)]

    print_failures(failed)
    many = capsys.readouterr().err
    print_failures(failed[:20])
    few = capsys.readouterr().err

    assert "22 failed" in many
    assert "case_19" in many
    assert "case_20" not in many
    assert "and 2 more: all reasons are in predict.log" in many
    assert "case_19" in few
    assert "predict.log" not in few
