"""See the package."""


class InferenceServerClient:
    """Never made in the tests."""
