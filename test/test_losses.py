"""Losses against values worked out by hand, and by gradient check."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="losses need torch")

from seg_perception.labels import CAMVID, LabelClass, LabelSet  # noqa: E402
from seg_perception.training.losses import (  # noqa: E402
    balanced_boundary_loss,
    center_loss,
    mean_and_hardest,
    offset_loss,
    partial_cross_entropy,
)
from seg_perception.training.targets import PartialLabels  # noqa: E402

THREE = LabelSet(tuple(LabelClass(i, name, (i, i, i)) for i, name in enumerate(("a", "b", "c"))))


def test_a_coarse_label_costs_minus_the_log_of_the_summed_probability() -> None:
    partial = PartialLabels(THREE)
    codes = partial.codes_of({0: ("a",), 1: ("a", "c"), 2: ()})
    probability = torch.tensor([0.2, 0.5, 0.3])
    logits = probability.log()[None, :, None, None].expand(1, 3, 1, 3).clone()
    label = torch.from_numpy(codes[[0, 1, 2]].astype(np.int64))[None, None]
    loss = partial_cross_entropy(logits, label, torch.from_numpy(partial.bias))
    assert loss[0, 0].tolist() == pytest.approx([-math.log(0.2), -math.log(0.2 + 0.3), 0.0], abs=1e-6)


def test_a_set_of_one_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 11, 4, 5), torch.randint(0, 11, (2, 4, 5))
    loss = partial_cross_entropy(logits, label, torch.from_numpy(PartialLabels(CAMVID).bias))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, label, reduction="none"))


def test_gradient_of_a_coarse_label() -> None:
    torch.manual_seed(0)
    partial = PartialLabels(THREE)
    codes = partial.codes_of({0: ("a", "b"), 1: ("c",)})
    label = torch.from_numpy(codes[[[0, 1], [255, 0]]].astype(np.int64))[None]
    bias = torch.from_numpy(partial.bias).double()
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: partial_cross_entropy(x, label, bias), (logits,))


def test_hardest_pixels_count_twice() -> None:
    """Losses 1, 2, 3, 6 with weight 1: mean 3, the hardest quarter 6, so 4.5; the void pixel's 100 is nowhere."""
    loss = torch.tensor([[[1.0, 2.0, 3.0, 6.0, 100.0]]])
    weight = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 0.0]]])
    assert mean_and_hardest(loss, weight, 0.25).item() == pytest.approx(4.5)


def test_an_image_without_labels_costs_nothing() -> None:
    loss = torch.ones(1, 2, 2, requires_grad=True)
    value = mean_and_hardest(loss, torch.zeros(1, 2, 2), 0.3)
    value.backward()
    assert value.item() == 0 and loss.grad is not None


def test_boundary_loss_balances_edge_and_rest() -> None:
    """One edge in four known pixels, logits 0: each pixel costs log 2; weights 3/4 once, 1/4 three times."""
    edge = torch.tensor([[[1, 0, 0, 0, 255]]], dtype=torch.uint8)
    loss = balanced_boundary_loss(torch.zeros(1, 1, 1, 5), edge)
    assert loss.item() == pytest.approx(math.log(2) * (3 / 4 + 3 * 1 / 4) / 4)


def test_center_and_offset_losses_look_where_truth_is_known() -> None:
    known = torch.tensor([[[True, False]]])
    heat = center_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[1.0, 0.0]]]), known)
    assert heat.item() == pytest.approx(0.25)
    offset = offset_loss(torch.tensor([[[[1.0, 9.0]], [[2.0, 9.0]]]]), torch.zeros(1, 2, 1, 2), known)
    assert offset.item() == pytest.approx(3.0)
