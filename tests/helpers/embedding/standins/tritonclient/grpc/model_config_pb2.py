"""See the package above."""


class DataType:
    """Never used in the tests."""


class ModelConfig:
    """Never used in the tests."""
