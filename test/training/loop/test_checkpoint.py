"""Checkpoints: what is read back, and the mean of several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch")

from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID  # noqa: E402
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


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", [{"more": torch.zeros(1)}, {"weight": torch.zeros(3)}])
def test_weights_of_another_version_of_the_network_are_not_mixed(other: dict, order: int) -> None:
    first = content(1)
    second = {**first, "average": {**first["average"], **other}}
    with pytest.raises(SegPerceptionError, match=f"different versions of pidnet_s .{next(iter(other))} is not alike"):
        checkpoint.mixed([first, second][::order], [1, 1])


def whole() -> dict[str, Any]:
    weights = {"weight": torch.zeros(2), "num_batches_tracked": torch.tensor(3)}
    known = {"network": "pidnet_s", "labels": CAMVID.to_json(), "size_hw": [64, 96], "data": ["camvid"]}
    rest = {"config": {}, "metrics": {}, "scaler": {}, "step": 1, "best": 0.5, "trained_s": 2.0, "pretrained": ""}
    return {**known, **rest, "weights": weights, "average": weights, "optimiser": {}}


def test_a_whole_checkpoint_is_read(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", whole())
    assert checkpoint.load(tmp_path / "c.pt", "pidnet_s", to_resume=True)["labels"] == CAMVID.to_json()


@pytest.mark.parametrize("key", ["labels", "size_hw", "data", "average", "step", "best", "weights", "optimiser"])
def test_what_is_lacking_is_named(key: str, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {name: value for name, value in whole().items() if name != key})
    with pytest.raises(SegPerceptionError, match=rf"c\.pt is no whole checkpoint \(it lacks {key}\)"):
        checkpoint.load(tmp_path / "c.pt", to_resume=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("network", 3),
            ("labels", "x"),
            ("labels", [{"id": 0}]),
            ("size_hw", [64]),
            ("size_hw", [1.5, 64]),
            ("data", 3),
        ),
        *(
            ("data", [1]),
            ("average", [1]),
            ("average", {"a": 1}),
            ("weights", {"a": 1}),
            ("pretrained", 3),
            ("step", "a"),
        ),
        *(("best", None), ("optimiser", [1]), ("config", 1), ("metrics", 1), ("trained_s", "a")),
        *(("step", -1), ("best", float("nan")), ("trained_s", float("inf")), ("size_hw", [64, 1 << 40])),
        *(("config", {"seed": torch.zeros(2)}), ("metrics", {"miou": float("nan")}), ("size_hw", [True, 64])),
        *(("average", {3: torch.zeros(2)}), ("weights", {"a": torch.zeros(2, device="meta")})),
        *(("average", {"a": torch.zeros(2).to_sparse()}), ("average", {"a": torch.zeros(2, dtype=torch.complex64)})),
    ],
)
def test_what_is_of_another_kind_is_refused(key: str, value: object, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {**whole(), key: value})
    with pytest.raises(SegPerceptionError, match=r"c\.pt is no whole checkpoint"):
        checkpoint.load(tmp_path / "c.pt", to_resume=True)


@pytest.mark.parametrize("name", ["average", "weights"])
def test_weights_that_are_no_numbers_are_refused(name: str, tmp_path: Path) -> None:
    damaged = {**whole()[name], "weight": torch.tensor([0.0, float("nan")])}
    checkpoint.save(tmp_path / "c.pt", {**whole(), name: damaged})
    with pytest.raises(SegPerceptionError, match=r"c\.pt: the weights are not finite \(weight, 1 of 2 tensors\)"):
        checkpoint.load(tmp_path / "c.pt")


def test_a_bit_that_flipped_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    """Anywhere in the tensors: torch itself reads them without a word."""
    weights = {"weight": torch.arange(4096.0)}
    path = tmp_path / "c.pt"
    checkpoint.save(path, {**whole(), "average": weights, "weights": {}})
    data = path.read_bytes()
    place = data.index(weights["weight"].numpy().tobytes())
    for offset in (0, 1000, 4 * 4096 - 1):
        flipped = bytearray(data)
        flipped[place + offset] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(SegPerceptionError, match=r"c\.pt has changed since it was saved"):
            checkpoint.load(path)
    path.write_bytes(data)
    assert torch.equal(checkpoint.load(path)["average"]["weight"], weights["weight"])


def test_the_disk_has_a_checkpoint_before_it_takes_the_place_of_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut right after would else leave neither on some file systems."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    checkpoint.save(tmp_path / "last.pt", content(1))
    assert synced == [(tmp_path / "last.pt").stat().st_size]
