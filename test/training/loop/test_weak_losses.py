"""Losses of points, boxes and neighbours against values worked out by hand, slow references and gradient check."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="losses need torch")

from seg_perception.labels import VOID, LabelClass, LabelSet  # noqa: E402
from seg_perception.training.data.targets import PartialLabels  # noqa: E402
from seg_perception.training.loop.weak_losses import WEAK_LOSSES, WeakTruth, weak_loss  # noqa: E402
from seg_perception.training.loss_settings import WEAK_LOSS_NAMES, LossSettings  # noqa: E402

THREE = LabelSet(tuple(LabelClass(i, name, (i, i, i)) for i, name in enumerate(("a", "b", "c"))))
PARTIAL = PartialLabels(THREE)
A_OR_B = int(PARTIAL.codes_of({0: ("a", "b")})[0])
A, B = 0, 1


def truth_of(
    marks: torch.Tensor,
    codes: torch.Tensor,
    image: torch.Tensor | None = None,
    weights: dict[int, float] | None = None,
    **choices: Any,
) -> WeakTruth:
    table = torch.ones(256)
    for code, weight in (weights or {}).items():
        table[code] = weight
    image = torch.zeros(*marks.shape, 3, dtype=torch.uint8) if image is None else image
    return WeakTruth(marks, codes, image, torch.from_numpy(PARTIAL.bias), table, LossSettings(**choices))


def cost(name: str, probability: list[list[list[float]]], marks: list[list[int]], code: int, **more: Any) -> float:
    """Of one image whose pixels have these probabilities of a, b and c, all marks of one code."""
    logits = torch.tensor(probability).log().permute(2, 0, 1)[None]
    numbers = torch.tensor([marks])
    codes = torch.where(numbers != 0, code, VOID)
    return weak_loss(logits, truth_of(numbers, codes, **more), {name: 1.0}).item()


HALF, FIFTH, TENTH = [0.5, 0.3, 0.2], [0.2, 0.4, 0.4], [0.1, 0.1, 0.8]


def test_noisy_or_asks_for_one_pixel_of_the_bag() -> None:
    """1 - (1 - 0.5)(1 - 0.2) = 0.6; what lies outside the bag is nothing to it."""
    assert cost("noisy_or", [[HALF, FIFTH, TENTH]], [[1, 1, 0]], A) == pytest.approx(-math.log(0.6))
    assert cost("noisy_or", [[[1.0, 0.0, 0.0], TENTH]], [[1, 1]], A) == pytest.approx(0, abs=1e-5)


def test_a_coarse_point_is_any_of_its_classes() -> None:
    assert cost("noisy_or", [[HALF, FIFTH]], [[1, 1]], A_OR_B) == pytest.approx(-math.log(1 - 0.2 * 0.4))


def test_summed_bag_is_the_mean_of_the_bag() -> None:
    assert cost("summed_bag", [[HALF, FIFTH, TENTH]], [[1, 1, 0]], A) == pytest.approx(-math.log(0.35))


@pytest.mark.parametrize("name", ["noisy_or", "summed_bag"])
def test_points_count_alike_but_for_the_weight_of_their_class(name: str) -> None:
    """A bag of one pixel costs -log p in both: (1 x log 2 + 3 x log 2.5) / 4."""
    logits = torch.tensor([HALF, FIFTH]).log().T[None, :, None]
    truth = truth_of(torch.tensor([[[1, 2]]]), torch.tensor([[[A, B]]]), weights={B: 3.0})
    loss = weak_loss(logits, truth, {name: 1.0}).item()
    assert loss == pytest.approx((math.log(2) + 3 * math.log(2.5)) / 4)


def test_points_of_one_number_in_two_images_are_two() -> None:
    logits = torch.tensor([HALF, FIFTH]).log()[:, :, None, None]
    truth = truth_of(torch.tensor([[[1]], [[1]]]), torch.tensor([[[A]], [[A]]]))
    assert weak_loss(logits, truth, {"noisy_or": 1.0}).item() == pytest.approx((math.log(2) + math.log(5)) / 2)


def test_summed_bag_learns_where_no_probability_is_left() -> None:
    logits = torch.tensor([-400.0, 0.0, 0.0])[None, :, None, None].requires_grad_(True)
    weak_loss(logits, truth_of(torch.tensor([[[1]]]), torch.tensor([[[A]]])), {"summed_bag": 1.0}).backward()
    assert logits.grad[0, 0, 0, 0].item() == pytest.approx(-1)


def of_a(*values: float) -> list[list[float]]:
    return [[p, (1 - p) / 2, (1 - p) / 2] for p in values]


def test_a_box_wants_its_class_in_each_row_and_column() -> None:
    """A box of 2x2 in a 4x4 image, a's probabilities 0.9 0.1 | 0.2 0.6. Rows: 0.9, 0.6; columns the same. Dice of them
    with ones: 2 x 1.5 / (0.81 + 0.36 + 2)."""
    rows = [of_a(0.5, 0.5, 0.5, 0.5), of_a(0.5, 0.9, 0.1, 0.5), of_a(0.5, 0.2, 0.6, 0.5), of_a(0.5, 0.5, 0.5, 0.5)]
    box = [[0, 0, 0, 0], [0, -1, -1, 0], [0, -1, -1, 0], [0, 0, 0, 0]]
    assert cost("box_projection", rows, box, A) == pytest.approx(1 - 3 / 3.17)


def test_a_box_that_the_crop_cuts_off_is_judged_along_the_cut_alone() -> None:
    """At the left border: rows may hide what they want; columns have 0.9 and 0.6."""
    rows = [of_a(0.5, 0.5, 0.5), of_a(0.9, 0.1, 0.5), of_a(0.2, 0.6, 0.5), of_a(0.5, 0.5, 0.5)]
    box = [[0, 0, 0], [-1, -1, 0], [-1, -1, 0], [0, 0, 0]]
    assert cost("box_projection", rows, box, A) == pytest.approx(1 - 3 / 3.17)
    corner = [[-1, -1, 0], [-1, -1, 0], [0, 0, 0], [0, 0, 0]]
    assert cost("box_projection", rows, corner, A) == 0


def test_a_tight_box_has_a_pixel_of_its_class_in_each_line() -> None:
    """As above: -log of 0.9 and of 0.6, rows and columns alike."""
    rows = [of_a(0.5, 0.5, 0.5, 0.5), of_a(0.5, 0.9, 0.1, 0.5), of_a(0.5, 0.2, 0.6, 0.5), of_a(0.5, 0.5, 0.5, 0.5)]
    box = [[0, 0, 0, 0], [0, -1, -1, 0], [0, -1, -1, 0], [0, 0, 0, 0]]
    wanted = -(math.log(0.9) + math.log(0.6)) / 2
    assert cost("box_tightness", rows, box, A) == pytest.approx(wanted)
    corner = [[-1, -1, 0, 0], [-1, -1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert cost("box_tightness", rows, corner, A) == 0


def slow_lines(logits: torch.Tensor, truth: WeakTruth, name: str) -> float:
    """Box by box and line by line."""
    total, weight = 0.0, 0.0
    for i, marks in enumerate(truth.marks):
        for number in sorted({int(mark) for mark in marks.unique() if mark < 0}):
            y, x = torch.nonzero(marks == number, as_tuple=True)
            code = int(truth.codes[i, y[0], x[0]])
            names = [A, B] if code == A_OR_B else [code]
            p = logits[i].softmax(dim=0)[names].sum(dim=0)
            for lines, across, end in ((y, x, marks.shape[1] - 1), (x, y, marks.shape[0] - 1)):
                if int(across.min()) == 0 or int(across.max()) == end:
                    continue
                best = [
                    max(float(p[a, b]) for a, b, at in zip(y, x, lines, strict=True) if at == line)
                    for line in set(lines.tolist())
                ]
                dice = 2 * sum(best) / (sum(value**2 for value in best) + len(best))
                logs = -sum(map(math.log, best)) / len(best)
                own = float(truth.weights[code])
                total, weight = total + own * (logs if name == "box_tightness" else 1 - dice), weight + own
    return total / weight


@pytest.mark.parametrize("name", ["box_projection", "box_tightness"])
def test_box_losses_are_those_of_a_slow_walk_over_all_lines(name: str) -> None:
    """Of 2 images with 2 boxes and a third at the border."""
    for seed in range(3):
        logits, truth = some_marks(seed)
        truth.marks[:, 4:, 5:] = -3
        truth.codes[:, 4:, 5:] = A
        assert weak_loss(logits, truth, {name: 1.0}).item() == pytest.approx(slow_lines(logits, truth, name), rel=1e-5)


def test_what_teaches_a_class_that_seems_impossible() -> None:
    """A class of probability 0.001 in a box of 4 x 4, and in a point of 1 and of 11 x 11 px where it has 1/11: sums of the
    gradient on it. Bags larger than the number of classes are content with chance, and a projection with what is not there."""

    def pull(name: str, side: int, probability: float, sign: int) -> float:
        marks = torch.zeros(1, 16, 16, dtype=torch.int64)
        marks[:, 2 : 2 + side, 2 : 2 + side] = sign
        logits = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
        logits[:, A] = math.log(2 * probability / (1 - probability))
        logits.requires_grad_(True)
        weak_loss(logits, truth_of(marks, torch.where(marks != 0, A, VOID)), {name: 1.0}).backward()
        return -float(logits.grad[:, A].sum())

    assert pull("box_tightness", 4, 0.001, -1) > 0.99 and pull("box_projection", 4, 0.001, -1) < 0.01
    assert pull("noisy_or", 1, 1 / 11, 1) > 0.9 and pull("noisy_or", 11, 1 / 11, 1) < 0.001
    assert pull("summed_bag", 11, 1 / 11, 1) > 0.9


def test_neighbours_of_one_colour_should_be_of_one_class() -> None:
    """Two pixels of HALF and FIFTH: both have the same with probability 0.5 x 0.2 + 0.3 x 0.4 + 0.2 x 0.4 = 0.3."""
    assert cost("smoothness", [[HALF, FIFTH]], [[0, 0]], VOID) == pytest.approx(-math.log(0.3))


def test_neighbours_count_as_they_are_alike() -> None:
    """Colours 12 apart with affinity_colors 12: exp(-1/2) against 1."""
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[0, 0, 2, 0] = 12
    certain = [1.0, 1e-12, 1e-12]
    value = cost("smoothness", [[certain, certain, HALF]], [[0, 0, 0]], VOID, image=image, affinity_colors=12.0)
    share = math.exp(-0.5)
    assert value == pytest.approx(share * math.log(2) / (1 + share), rel=1e-5)


def slow_smoothness(logits: torch.Tensor, image: torch.Tensor, apart: int, colors: float) -> float:
    probability, total, weight = logits.softmax(dim=1), 0.0, 0.0
    n, _, height, width = logits.shape
    for i in range(n):
        for y in range(height):
            for x in range(width):
                for dy, dx in ((0, apart), (apart, 0), (apart, apart), (apart, -apart)):
                    if y + dy < height and 0 <= x + dx < width:
                        difference = (image[i, y, x].double() - image[i, y + dy, x + dx].double()).square().sum()
                        affinity = math.exp(-difference.item() / (2 * colors**2))
                        both = (probability[i, :, y, x] * probability[i, :, y + dy, x + dx]).sum().item()
                        total, weight = total - affinity * math.log(both), weight + affinity
    return total / weight


@pytest.mark.parametrize("apart", [1, 2, 4])
def test_smoothness_is_that_of_a_slow_walk_over_all_pairs(apart: int) -> None:
    """Also where a shift leaves nothing, 4 rows apart in 4 rows."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 6, generator=generator, dtype=torch.float64)
    image = torch.randint(0, 60, (2, 4, 6, 3), generator=generator, dtype=torch.uint8)
    none = torch.zeros(2, 4, 6, dtype=torch.int64)
    truth = truth_of(none, none + VOID, image, affinity_px=apart, affinity_colors=30.0)
    loss = weak_loss(logits, truth, {"smoothness": 1.0}).item()
    assert loss == pytest.approx(slow_smoothness(logits, image, apart, 30.0), rel=1e-5)


def some_marks(seed: int) -> tuple[torch.Tensor, WeakTruth]:
    """float64 logits [2, 3, 6, 6] with two points and two boxes in each image, one of each coarse."""
    generator = torch.Generator().manual_seed(seed)
    marks, codes = torch.zeros(2, 6, 6, dtype=torch.int64), torch.full((2, 6, 6), VOID)
    for y, x, size, number, code in ((0, 0, 2, 1, A), (0, 3, 1, 2, A_OR_B), (3, 1, 2, -1, B), (2, 3, 2, -7, A_OR_B)):
        marks[:, y : y + size, x : x + size] = number
        codes[:, y : y + size, x : x + size] = code
    image = torch.randint(0, 40, (2, 6, 6, 3), generator=generator, dtype=torch.uint8)
    logits = torch.randn(2, 3, 6, 6, generator=generator, dtype=torch.float64)
    return logits, truth_of(marks, codes, image, {A: 2.0, A_OR_B: 0.5})


@pytest.mark.parametrize("name", WEAK_LOSS_NAMES)
def test_gradient_of_each_weak_loss(name: str) -> None:
    logits, truth = some_marks(0)
    assert torch.autograd.gradcheck(lambda x: weak_loss(x, truth, {name: 1.0}), (logits.requires_grad_(True),))


@pytest.mark.parametrize("name", WEAK_LOSS_NAMES)
def test_no_marks_and_no_neighbours_cost_nothing_and_have_a_gradient(name: str) -> None:
    logits = torch.randn(1, 3, 1, 1, requires_grad=True)
    none = torch.zeros(1, 1, 1, dtype=torch.int64)
    loss = weak_loss(logits, truth_of(none, none + VOID), {name: 1.0})
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", WEAK_LOSS_NAMES)
def test_mixed_precision_computes_in_float32(name: str) -> None:
    logits, truth = some_marks(1)
    half = (1e4 * logits).half().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = weak_loss(half, truth, {name: 1.0})
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss) and torch.isfinite(half.grad).all()


def test_configurations_may_name_every_weak_loss() -> None:
    assert set(WEAK_LOSSES) == set(WEAK_LOSS_NAMES)
