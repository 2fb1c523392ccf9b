"""What the tests of evaluations share."""

import evaluation_stub
import pytest

from jax_scadn.detection import baselines


@pytest.fixture(autouse=True)
def forget_baselines():
    """Clears the cache: images of the same name differ between tests."""
    baselines._computed.clear()


@pytest.fixture
def sheet(monkeypatch):
    """Records the figures instead of drawing them."""
    return evaluation_stub.record_figures(monkeypatch)
