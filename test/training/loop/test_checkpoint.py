"""Checkpoints: what is read back, and the mean of several."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch")

from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402


def content(value: float, **other: object) -> dict:
    average = {"weight": torch.full((2,), float(value)), "num_batches_tracked": torch.tensor(int(value))}
    return {"network": "pidnet_s", "labels": ["road"], "average": average, **other}


def test_weights_are_averaged_by_their_shares_and_counters_are_the_first_ones() -> None:
    mixed = checkpoint.mixed([content(1, step=7), content(3, step=9), content(100)], [3, 1, 0])
    torch.testing.assert_close(mixed["average"]["weight"], torch.tensor([1.5, 1.5]))
    assert mixed["average"]["num_batches_tracked"] == 1 and mixed["step"] == 7


def test_one_checkpoint_stays_as_it_is() -> None:
    alone = content(0.1)
    torch.testing.assert_close(checkpoint.mixed([alone], [1.0])["average"], alone["average"], rtol=0, atol=0)


@pytest.mark.parametrize("shares", [[1.0], [1.0, -0.5], [0.0, 0.0]])
def test_shares_that_do_not_suit_are_refused(shares: list[float]) -> None:
    with pytest.raises(SegPerceptionError, match="2 checkpoints have the shares"):
        checkpoint.mixed([content(1), content(2)], shares)


@pytest.mark.parametrize("other", [{"network": "bisenetv2"}, {"labels": ["grass"]}])
def test_what_is_not_alike_is_not_mixed(other: dict) -> None:
    with pytest.raises(SegPerceptionError, match=f"{next(iter(other))} differ"):
        checkpoint.mixed([content(1), content(2, **other)], [1, 1])
