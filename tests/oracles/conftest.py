import pytest


@pytest.fixture(autouse=True)
def exact(exact_norm):
    """Weights after training are compared to 1e-10."""
