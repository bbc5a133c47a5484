"""Losses against values worked out by hand, and by gradient check."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="losses need torch")

from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID, VOID, LabelClass, LabelSet  # noqa: E402
from seg_perception.training.data.targets import PartialLabels  # noqa: E402
from seg_perception.training.loop.losses import (  # noqa: E402
    SEMANTIC_LOSSES,
    PixelTruth,
    balanced_boundary_loss,
    center_loss,
    mean_and_hardest,
    offset_loss,
    partial_cross_entropy,
    semantic_loss,
)
from seg_perception.training.loop.objective import at_label_pixels  # noqa: E402
from seg_perception.training.loss_settings import SEMANTIC_LOSS_NAMES, LossSettings  # noqa: E402

THREE = LabelSet(tuple(LabelClass(i, name, (i, i, i)) for i, name in enumerate(("a", "b", "c"))))
A, B = 0, 1
PARTIAL = PartialLabels(THREE)
A_OR_B, B_OR_C = (int(code) for code in PARTIAL.codes_of({0: ("a", "b"), 1: ("b", "c")})[:2])
LN2 = math.log(2)


def truth_of(codes: torch.Tensor, weights: dict[int, float] | None = None, **choices: float) -> PixelTruth:
    """Every code counts 1 but for the weights given; the network is sure of a boundary everywhere."""
    table = torch.ones(256)
    table[VOID] = 0
    for code, weight in (weights or {}).items():
        table[code] = weight
    boundary = torch.full((codes.shape[0], 1, *codes.shape[1:]), 5.0)
    return PixelTruth(codes, torch.from_numpy(PARTIAL.bias), table, LossSettings(**choices), boundary)


def one_loss(
    name: str,
    pixels: list[tuple[tuple[float, float, float], int]],
    weights: dict[int, float] | None = None,
    **choices: float,
) -> float:
    """A loss of pixels in a row, each given by the probabilities of the three classes and its code."""
    logits = torch.tensor([probabilities for probabilities, _ in pixels]).log().T[None, :, None]
    codes = torch.tensor([[[code for _, code in pixels]]])
    return semantic_loss(logits, truth_of(codes, weights, **choices), {name: 1.0}).item()


def random_pixels(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """float64 logits [2, 3, 3, 4] and codes [2, 3, 4], fine, coarse and void."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([0, 1, 2, A_OR_B, B_OR_C, VOID])
    codes = kinds[torch.randint(0, len(kinds), (2, 3, 4), generator=generator)]
    return torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64), codes


def test_cross_entropy_is_weighted_by_class() -> None:
    """a costs ln 2 and counts 1, b costs 2 ln 2 and counts 3: (ln 2 + 6 ln 2) / 4."""
    pixels = [((0.5, 0.25, 0.25), A), ((0.5, 0.25, 0.25), B), ((0.1, 0.1, 0.8), VOID)]
    assert one_loss("cross_entropy", pixels, {B: 3.0}) == pytest.approx(7 / 4 * LN2)


def test_smoothing_shares_a_label_among_the_classes() -> None:
    """0.7 of ln 2, and 0.1 of each class: ln 2, 2 ln 2, 2 ln 2."""
    smooth = one_loss("cross_entropy", [((0.5, 0.25, 0.25), A)], label_smoothing=0.3)
    assert smooth == pytest.approx((0.7 + 0.1 * 5) * LN2)


def test_smoothing_is_that_of_torch() -> None:
    logits, codes = random_pixels(0)
    loss = semantic_loss(logits, truth_of(codes % 3, label_smoothing=0.2), {"cross_entropy": 1.0})
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, codes % 3, label_smoothing=0.2))


@pytest.mark.parametrize("name", ["cross_entropy", "hard_cross_entropy", "ohem", "boundary_cross_entropy"])
def test_a_label_that_leaves_classes_open_is_not_smoothed(name: str) -> None:
    pixels = [((0.5, 0.25, 0.25), B_OR_C)]
    assert one_loss(name, pixels, label_smoothing=0.3) == pytest.approx(LN2)


FOUR = [((0.9, 0.05, 0.05), A), ((0.8, 0.1, 0.1), A), ((0.2, 0.4, 0.4), A), ((0.3, 0.1, 0.6), B)]
"""Probabilities of what is true: 0.9, 0.8, 0.2, 0.1."""


def test_ohem_leaves_out_what_is_easy() -> None:
    assert one_loss("ohem", FOUR, ohem_threshold=0.5, ohem_keep=0.25) == pytest.approx(-math.log(0.2 * 0.1) / 2)


def test_ohem_keeps_a_share_of_the_hardest_at_least() -> None:
    """Nothing is below 0.05; of four labelled pixels 0.8 are three."""
    pixels = [*FOUR, ((0.01, 0.01, 0.98), VOID)]
    kept = one_loss("ohem", pixels, ohem_threshold=0.05, ohem_keep=0.8)
    assert kept == pytest.approx(-math.log(0.8 * 0.2 * 0.1) / 3)
    assert one_loss("ohem", pixels, ohem_threshold=0.05, ohem_keep=0.0) == 0


def test_ohem_takes_the_probability_of_a_coarse_label_as_a_whole() -> None:
    """0.6 + 0.3 is easy, 0.1 + 0.3 is not."""
    pixels = [((0.6, 0.3, 0.1), A_OR_B), ((0.6, 0.1, 0.3), B_OR_C)]
    assert one_loss("ohem", pixels, ohem_threshold=0.7, ohem_keep=0.0) == pytest.approx(-math.log(0.4))


def test_ohem_weighs_what_it_keeps() -> None:
    weighted = one_loss("ohem", FOUR, {B: 3.0}, ohem_threshold=0.5, ohem_keep=0.0)
    assert weighted == pytest.approx(-(math.log(0.2) + 3 * math.log(0.1)) / 4)


def test_ohem_finds_the_hard_pixels_by_their_probability_smoothed_or_not() -> None:
    smoothed = one_loss("ohem", FOUR, ohem_threshold=0.75, ohem_keep=0.0, label_smoothing=0.3)
    assert smoothed == pytest.approx(one_loss("cross_entropy", FOUR[2:], label_smoothing=0.3))


def test_boundary_cross_entropy_looks_where_a_boundary_is_sure() -> None:
    """Boundary probabilities 0.9, 0.7, 0.9, 0.9: of the sure pixels the first is easy and the last void."""
    logits = torch.tensor([p for p, _ in FOUR]).log().T[None, :, None]
    codes = torch.tensor([[[A, A, A, VOID]]])
    boundary = torch.logit(torch.tensor([[[[0.9, 0.7, 0.9, 0.9]]]])).requires_grad_(True)
    base = truth_of(codes, ohem_threshold=0.85, ohem_keep=0.0)
    truth = PixelTruth(codes, base.bias, base.weights, base.settings, boundary)
    loss = semantic_loss(logits.requires_grad_(True), truth, {"boundary_cross_entropy": 1.0})
    assert loss.item() == pytest.approx(-math.log(0.2))
    loss.backward()
    assert boundary.grad is None


def test_boundary_cross_entropy_keeps_a_share_of_all_pixels() -> None:
    """Half of four labelled pixels are two, which is all that lie on the boundary, easy as they are."""
    logits = torch.tensor([p for p, _ in FOUR]).log().T[None, :, None]
    base = truth_of(torch.tensor([[[A, A, A, B]]]), ohem_threshold=0.05, ohem_keep=0.5)
    truth = PixelTruth(base.codes, base.bias, base.weights, base.settings, torch.tensor([[[[5.0, 5.0, 0.0, 0.0]]]]))
    loss = semantic_loss(logits, truth, {"boundary_cross_entropy": 1.0})
    assert loss.item() == pytest.approx(-math.log(0.9 * 0.8) / 2)


def test_boundary_cross_entropy_needs_boundaries() -> None:
    base = truth_of(torch.zeros(1, 2, 2, dtype=torch.int64))
    truth = PixelTruth(base.codes, base.bias, base.weights, base.settings)
    with pytest.raises(SegPerceptionError, match=r"predicts boundaries.*loss\.semantic"):
        semantic_loss(torch.zeros(1, 3, 2, 2), truth, {"boundary_cross_entropy": 1.0})


def test_focal_turns_down_what_is_easy() -> None:
    """p = 1/2: (1/2)^2 ln 2. p = 3/4, as b or c: (1/4)^2 ln(4/3). Without gamma it is cross entropy."""
    pixels = [((0.5, 0.25, 0.25), A), ((0.25, 0.5, 0.25), B_OR_C), ((0.1, 0.1, 0.8), VOID)]
    assert one_loss("focal", pixels) == pytest.approx((LN2 / 4 + math.log(4 / 3) / 16) / 2)
    assert one_loss("focal", pixels, focal_gamma=0.0) == pytest.approx(one_loss("cross_entropy", pixels))


def test_focal_has_a_slope_where_nothing_is_in_doubt() -> None:
    logits = torch.tensor([100.0, 0.0, 0.0])[None, :, None, None].requires_grad_(True)
    semantic_loss(logits, truth_of(torch.tensor([[[A]]]), focal_gamma=0.5), {"focal": 1.0}).backward()
    assert torch.isfinite(logits.grad).all()


TWO = [((0.7, 0.2, 0.1), A), ((0.3, 0.6, 0.1), B)]
"""Class a: hits 0.7, missed 0.3, false alarms 0.3; b: 0.6, 0.4, 0.2; c does not occur."""


def test_dice_of_the_classes_that_occur() -> None:
    """Coefficients 0.7 / 1 and 0.6 / 0.9."""
    assert one_loss("dice", TWO) == pytest.approx((0.3 + 1 / 3) / 2)


def test_tversky_weighs_misses_against_false_alarms() -> None:
    """Indices 0.7 / (0.7 + 0.25 x 0.3 + 0.75 x 0.3) and 0.6 / (0.6 + 0.25 x 0.2 + 0.75 x 0.4)."""
    assert one_loss("tversky", TWO, tversky_false_alarms=0.25) == pytest.approx((0.3 + (1 - 0.6 / 0.95)) / 2)


def test_soft_iou_of_the_classes_that_occur() -> None:
    """0.7 / (0.7 + 0.3 + 0.3) and 0.6 / (0.6 + 0.2 + 0.4)."""
    assert one_loss("soft_iou", TWO) == pytest.approx((1 - 0.7 / 1.3 + 0.5) / 2)


def test_focal_tversky_is_a_root_of_each_classes_error() -> None:
    """Errors as above for 0.25: 0.3 and 1 - 0.6 / 0.95, their square roots; gamma 1 is Tversky."""
    focal = one_loss("focal_tversky", TWO, tversky_false_alarms=0.25, focal_tversky_gamma=2.0)
    assert focal == pytest.approx((math.sqrt(0.3) + math.sqrt(1 - 0.6 / 0.95)) / 2, abs=2e-3)
    plain = one_loss("focal_tversky", TWO, focal_tversky_gamma=1.0)
    assert plain == pytest.approx(one_loss("tversky", TWO))


def test_lovasz_of_the_classes_that_occur() -> None:
    """Class a: the other pixel is 0.6 wrong, its own 0.3, and 1 - IoU grows by 1/2 with each: 0.45. Class b: its own
    pixel is 0.7 wrong and takes the whole IoU: 0.7."""
    assert one_loss("lovasz_softmax", [((0.7, 0.2, 0.1), A), ((0.6, 0.3, 0.1), B)]) == pytest.approx(0.575)


@pytest.mark.parametrize("name", ["dice", "soft_iou", "tversky", "focal_tversky", "lovasz_softmax"])
def test_region_losses_see_fine_labels_only(name: str) -> None:
    coarse = [((0.3, 0.3, 0.4), A_OR_B), ((0.1, 0.1, 0.8), VOID)]
    assert one_loss(name, [*TWO, *coarse]) == pytest.approx(one_loss(name, TWO))
    assert one_loss(name, coarse) == 0


def test_losses_add_up_by_their_weights() -> None:
    logits, codes = random_pixels(3)
    truth = truth_of(codes)
    each = [semantic_loss(logits, truth, {name: 1.0}).item() for name in ("ohem", "dice")]
    both = semantic_loss(logits, truth, {"ohem": 2.0, "dice": 0.5}).item()
    assert both == pytest.approx(2 * each[0] + 0.5 * each[1])
    assert semantic_loss(logits, truth, {}).item() == 0


def test_configurations_may_name_every_loss() -> None:
    assert set(SEMANTIC_LOSSES) == set(SEMANTIC_LOSS_NAMES)


@pytest.mark.parametrize("name", SEMANTIC_LOSS_NAMES)
def test_gradient_of_each_loss(name: str) -> None:
    logits, codes = random_pixels(1)
    truth = truth_of(codes, {A: 2.0, B_OR_C: 0.5}, label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda x: semantic_loss(x, truth, {name: 1.0}), (logits.requires_grad_(True),))


@pytest.mark.parametrize("name", SEMANTIC_LOSS_NAMES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.floats(-50, 50))
def test_void_pixels_never_count(name: str, seed: int, shift: float) -> None:
    logits, codes = random_pixels(seed)
    void = (codes == VOID)[:, None].expand_as(logits)
    other = torch.where(void, shift * logits.flip(1), logits).requires_grad_(True)
    truth = truth_of(codes, label_smoothing=0.1)
    loss = semantic_loss(other, truth, {name: 1.0})
    assert loss.item() == pytest.approx(semantic_loss(logits, truth, {name: 1.0}).item())
    loss.backward()
    assert not other.grad[void].any()


@pytest.mark.parametrize("name", SEMANTIC_LOSS_NAMES)
def test_a_batch_without_labels_costs_nothing_and_has_a_gradient(name: str) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = semantic_loss(logits, truth_of(torch.full((1, 2, 2), VOID)), {name: 1.0})
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", SEMANTIC_LOSS_NAMES)
def test_what_is_right_costs_less_than_what_is_wrong(name: str) -> None:
    _, codes = random_pixels(2)
    right = 20.0 * torch.nn.functional.one_hot(codes % 3, 3).permute(0, 3, 1, 2)
    truth = truth_of(codes % 3)
    assert semantic_loss(right, truth, {name: 1.0}).item() == pytest.approx(0, abs=1e-6)
    assert semantic_loss(-right, truth, {name: 1.0}).item() > 0.5


@pytest.mark.parametrize("name", SEMANTIC_LOSS_NAMES)
def test_mixed_precision_computes_in_float32(name: str) -> None:
    """Half precision ends at 65504: sums of such logits would not survive it."""
    logits, codes = random_pixels(4)
    half = (1e4 * logits).half().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = semantic_loss(half, truth_of(codes), {name: 1.0})
    assert loss.dtype == torch.float32
    assert loss.item() == semantic_loss(half.float(), truth_of(codes), {name: 1.0}).item()
    loss.backward()
    assert torch.isfinite(half.grad).all()


def test_the_other_heads_survive_half_precision() -> None:
    known = torch.ones(1, 200, 200, dtype=torch.bool)
    far = torch.full((1, 2, 200, 200), 500.0, dtype=torch.float16)
    assert offset_loss(far, torch.zeros(1, 2, 200, 200), known).item() == pytest.approx(1000)
    assert center_loss(torch.zeros(1, 1, 200, 200).half(), torch.ones(1, 200, 200), known).item() == pytest.approx(0.25)
    edge = torch.zeros(1, 200, 200, dtype=torch.uint8)
    edge[:, :100] = 1
    wrong = (torch.where(edge == 1, -200.0, 200.0))[:, None].half()
    assert balanced_boundary_loss(wrong, edge).item() == pytest.approx(100)


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


def test_of_no_share_of_hard_pixels_the_mean_is_left() -> None:
    """Half of the loss was that of the one hardest pixel."""
    loss, weight = torch.tensor([[[1.0, 2.0, 9.0]]]), torch.tensor([[[1.0, 1.0, 2.0]]])
    assert mean_and_hardest(loss, weight, 0.0).item() == pytest.approx((1 + 2 + 2 * 9) / 4)


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
    for dy, dx in ((1.0, 2.0), (-1.0, 2.0), (1.0, -2.0), (-1.0, -2.0)):
        offset = offset_loss(torch.tensor([[[[dy, 9.0]], [[dx, 9.0]]]]), torch.zeros(1, 2, 1, 2), known)
        assert offset.item() == pytest.approx(3.0)


def test_gradients_of_the_other_heads() -> None:
    torch.manual_seed(0)
    edge = torch.tensor([[[1, 0, 255], [0, 1, 0]]], dtype=torch.uint8)
    heatmap, known = torch.rand(1, 2, 3, dtype=torch.float64), torch.tensor([[[1, 1, 0], [0, 1, 1]]], dtype=torch.bool)
    target = torch.zeros(1, 2, 2, 3, dtype=torch.float64)
    one, two = (torch.randn(1, channels, 2, 3, dtype=torch.float64, requires_grad=True) for channels in (1, 2))
    assert torch.autograd.gradcheck(lambda x: balanced_boundary_loss(x, edge), (one,))
    assert torch.autograd.gradcheck(lambda x: center_loss(x, heatmap, known), (one,))
    assert torch.autograd.gradcheck(lambda x: offset_loss(x, target, known), (two,))


def test_unknown_edges_cost_nothing() -> None:
    logits = torch.randn(1, 1, 2, 2, requires_grad=True)
    loss = balanced_boundary_loss(logits, torch.full((1, 2, 2), VOID, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_network_is_compared_at_the_very_pixels_of_the_labels(stride: int) -> None:
    cells = torch.arange(8) * 4 + 1.5  # the column of pixels at which each cell of a grid of stride 4 has its middle
    columns = at_label_pixels(cells.expand(1, 1, 6, 8), (24, 32), stride)[0, 0, 0]
    inner = slice(-(-2 // stride), 30 // stride)  # beyond the outermost middles a grid is held, not extended
    torch.testing.assert_close(columns[inner], torch.arange(32.0)[::stride][inner])
