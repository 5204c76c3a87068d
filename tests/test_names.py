"""Names from users are data: a name that acts as an instruction or hides its text is refused."""

import pytest

from segpipe.errors import SegpipeError
from segpipe.names import hidden_problem, name_problem, path_problem, require_name, text_problem

GOOD = [
    "liver",
    "T1 (post)",
    "Lésion 2",
    "腫瘍",
    "a$b",
    "50 % stenosis",
    "x@y",
    "a#1",
    "it's",
    '"quoted"',
    "~",
    "a\u200cb",
]
INSTRUCTIONS = ["$print()", "@labels", "%file.yaml", " $x", "$"]
HIDDEN = ["a\nb", "a\n", "a\x1b[31m", "tab\tbed", "\x7f", "a\x85", "a\u2028b", "a\u202egpj.exe", "a\ud800"]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_in_any_script_stays(name):
    assert name_problem(name) is None
    assert path_problem(f"folder/{name}.nii.gz") is None


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_what_monai_would_evaluate_or_replace_is_refused(name):
    assert "MONAI reads as an instruction" in name_problem(name)
    assert "MONAI reads as an instruction" in path_problem(f"folder/{name}")


@pytest.mark.parametrize("name", HIDDEN)
def test_control_characters_are_refused(name):
    assert "holds the control character U+" in name_problem(name)
    assert "holds the control character U+" in path_problem(f"{name}/image.nii.gz")
    assert "holds the control character U+" in hidden_problem(name)


def test_a_longer_text_may_have_lines():
    assert text_problem("first line\r\n\tsecond line") is None
    assert text_problem("first\x1b[2J") == "holds the control character U+001B; rename it without"


def test_the_message_shows_the_name_escaped():
    with pytest.raises(SegpipeError) as refused:
        require_name("a\x1b[31m", "class 1")

    assert (
        str(refused.value)
        == r"class 1: the name 'a\x1b[31m' holds the control character U+001B; rename it without"
    )
