import pytest

from benchmarks import growth


def test_fitted_line_and_its_error():
    exact = growth.line([1, 2, 4], [5, 7, 11])
    assert exact == pytest.approx((2, 3, 0), abs=1e-9)
    # Errors are relative: 10 % of the small value weighs as much as of the large one.
    bent = growth.line([0, 1, 10], [1, 1.1, 10])
    assert 0.1 < bent.off < 0.6


def test_convolutions_are_those_of_the_generator():
    """243 * 10^9 products of one 512 x 512 image under one mask."""
    kinds = growth.convolutions(1, 512)
    products = {}
    for kind in kinds:
        layer, (_, height, width, inputs) = kind.layer, kind.shape
        side = layer.upsample
        rest = 2 * layer.pad - layer.dilation * (layer.kernel - 1)
        pixels = (side * height + rest) // layer.stride
        pixels *= (side * width + rest) // layer.stride
        per_layer = pixels * inputs * layer.features * layer.kernel**2
        products[kind.name] = kind.count * per_layer
    assert sum(products.values()) == pytest.approx(243e9, rel=0.01)
    counts = {kind.name: kind.count for kind in kinds if kind.count > 1}
    assert sum(kind.count for kind in kinds) == 4 + 16 + 4
    assert list(counts.values()) == [8, 8]


def test_calls_are_timed_in_turn():
    called = []
    calls = [lambda: called.append("a"), lambda: called.append("b")]
    seconds = growth.in_turn(calls, rounds=2)
    assert called == ["a", "b"] * 3  # the first ones compile and are not timed
    assert all(value >= 0 for value in seconds)


def test_rates_of_one_convolution():
    (kind,) = (k for k in growth.convolutions(1, 32) if k.name == "encoder_1")
    row = growth.rates(kind, rounds=1)
    assert row["times"] == 1
    # 16 x 16 x 128 outputs of 4 x 4 x 64 products each.
    assert row["operations per byte"] == pytest.approx(
        2
        * 16
        * 16
        * 128
        * 16
        * 64
        / (4 * (32 * 32 * 64 + 16 * 64 * 128 + 16 * 16 * 128))
    )
    assert row["XLA, GFLOP/s"] > 0
    assert row["ours, GFLOP/s"] > 0
