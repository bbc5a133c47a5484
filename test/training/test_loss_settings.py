"""The choice of losses is checked when the configuration is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.training.config import load_config
from seg_perception.training.loss_settings import LossSettings

DATA = "data: [{name: synthetic, root: ''}]\nvalidation: {name: synthetic, root: ''}\n"


def load(folder: Path, loss: str) -> LossSettings:
    (folder / "c.yaml").write_text(f"{DATA}loss: {loss}\n")
    return load_config(folder / "c.yaml").loss


def test_one_line_chooses_the_losses(tmp_path: Path) -> None:
    settings = load(tmp_path, "{semantic: {ohem: 1.0, lovasz_softmax: 0.5}, auxiliary: {}}")
    assert (settings.semantic, settings.auxiliary) == ({"ohem": 1.0, "lovasz_softmax": 0.5}, {})


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("{semantic: {lovasz: 1.0}}", r"c\.yaml.*loss\.semantic.*'lovasz'.*did you mean 'lovasz_softmax'"),
        ("{auxiliary: {focl: 1.0}}", r"loss\.auxiliary.*'focl'.*did you mean 'focal'"),
        ("{semantic: {ohem: -1.0}}", r"loss\.semantic gives ohem the weight -1\.0.*0 or more"),
        ("{semantic: {ohem: .nan}}", r"is not a number"),
        ("{semantic: {}}", r"loss\.semantic gives no loss a weight.*cross_entropy"),
        ("{semantic: {ohem: 0}}", r"loss\.semantic gives no loss a weight"),
        ("{label_smoothing: 1.5}", r"loss\.label_smoothing is 1\.5, allowed is 0\.0 to 0\.9"),
        ("{ohem_keep: 131072}", r"loss\.ohem_keep is 131072\.0, allowed is 0\.0 to 1\.0"),
        ("{stride: 0}", r"loss\.stride is 0, allowed is 1"),
        ("{focal_gama: 2.0}", r"focal_gama.*did you mean 'focal_gamma'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(tmp_path: Path, loss: str, message: str) -> None:
    with pytest.raises(SegPerceptionError, match=message):
        load(tmp_path, loss)
