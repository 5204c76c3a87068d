"""The reason of a refusal, as a program gets it that embeds a bundle."""

import pytest

from segpipe.errors import segpipe_cause


def refusal_of(call, *arguments, **keywords):
    """Return the text of the SegpipeError that ends a call, also if MONAI wrapped the error."""
    with pytest.raises(Exception) as ended:  # noqa: PT011 - MONAI's parser raises what it likes
        call(*arguments, **keywords)
    cause = segpipe_cause(ended.value)
    assert cause is not None, ended.value
    assert "Traceback" not in str(cause)
    return str(cause)
