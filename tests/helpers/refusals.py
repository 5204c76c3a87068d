"""What a program gets that embeds a bundle: the reason of a refusal, whatever MONAI raised from it."""

import pytest

from segpipe.errors import segpipe_cause


def refusal_of(call, *arguments, **keywords):
    """Return the text of the SegpipeError by which a call ends, whether MONAI wrapped it or not."""
    with pytest.raises(Exception) as ended:  # noqa: PT011 - MONAI's parser raises what it likes
        call(*arguments, **keywords)
    cause = segpipe_cause(ended.value)
    assert cause is not None, ended.value
    assert "Traceback" not in str(cause)
    return str(cause)
