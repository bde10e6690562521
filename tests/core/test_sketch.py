"""A sketch's quantiles are right within what it says, and add up."""

from __future__ import annotations

from random import Random

import msgpack
import pytest

from mesh.core.sketch import Sketch


def _exact(values: list[float], share: float) -> float:
    return sorted(values)[max(0, int(share * len(values) + 0.999999) - 1)]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_quantile_is_right_within_two_percent(share: float, seed: int) -> None:
    random = Random(seed)
    values = [10 ** random.uniform(-6, 3) for _ in range(2_000)]
    sketch = Sketch()
    sketch.add(values)
    assert sketch.quantile(share) == pytest.approx(_exact(values, share), rel=0.021)


def test_two_that_are_merged_are_what_one_of_all_would_be() -> None:
    random = Random(1)
    values = [random.expovariate(10) for _ in range(1_000)]
    whole, first, second = Sketch(), Sketch(), Sketch()
    whole.add(values)
    first.add(values[:300])
    second.add(values[300:])
    first.merge(second)
    assert first.buckets == whole.buckets
    assert (first.count, first.longest) == (whole.count, whole.longest)
    assert first.total == pytest.approx(whole.total)


def test_what_is_out_of_bounds_counts_as_the_bound() -> None:
    sketch = Sketch()
    sketch.add([-1.0, 0.0, 1e12])
    assert sketch.count == 3
    assert len(sketch.buckets) == 2
    assert sketch.quantile(0.5) == pytest.approx(1e-6, rel=0.02)
    assert Sketch().quantile(0.5) == 0.0


def test_it_travels() -> None:
    sketch = Sketch()
    sketch.add([0.1, 0.2, 5e-7, 1e6])
    other = Sketch.unpack(sketch.pack())
    assert (other.buckets, other.count, other.total, other.longest) == (
        sketch.buckets,
        sketch.count,
        sketch.total,
        sketch.longest,
    )


def test_however_much_was_made_up_what_is_merged_travels() -> None:
    most, sketch = Sketch.unpack([1.0, 1.0, {4000: 2**48 - 1}]), Sketch()
    for _ in range(2**17):
        sketch.merge(most)
    assert (
        Sketch.unpack(msgpack.unpackb(msgpack.packb(sketch.pack()), strict_map_key=False)).count == 2**48 - 1
    )


@pytest.mark.parametrize(
    "packed",
    [
        None,
        [],
        [1.0, 1.0],
        [1.0, 1.0, {"a": 1}],
        [1.0, 1.0, {10**6: 1}],
        [1.0, 1.0, {1: -1}],
        [1, 1.0, {}],
        [float("nan"), 1.0, {}],
        [1.0, float("inf"), {}],
        [-1.0, 1.0, {}],
    ],
)
def test_what_is_none_is_refused(packed: object) -> None:
    with pytest.raises(ValueError, match="no sketch"):
        Sketch.unpack(packed)
