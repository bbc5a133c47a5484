"""Training that begins with a model file: the same answers, and normalisations that can learn on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="networks need torch")

from torch import Tensor, nn  # noqa: E402
from training_fixtures import TINY_CONFIG, known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception import model_file  # noqa: E402
from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID, LabelSet  # noqa: E402
from seg_perception.training.config import DistillSettings, load_config  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402
from seg_perception.training.loop.beginning import read_beginning  # noqa: E402
from seg_perception.training.loop.distillation import Teacher  # noqa: E402
from seg_perception.training.loop.trainer import Trainer  # noqa: E402
from seg_perception.training.networks import make_network  # noqa: E402
from seg_perception.training.networks.heads import PanopticNetwork  # noqa: E402
from seg_perception.training.networks.unfolded import spread  # noqa: E402

SIZE_HW = (64, 96)


def as_if_trained(name: str, seed: int = 7) -> PanopticNetwork:
    """Normalisations with numbers that training might have left, none of which may get lost."""
    torch.manual_seed(seed)
    network = make_network(name, len(CAMVID))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def write_model(network: PanopticNetwork, name: str, folder: Path) -> Path:
    content = {"network": name, "labels": CAMVID.to_json(), "size_hw": SIZE_HW, "data": ["garden", "camvid"]}
    weights = network.state_dict()
    checkpoint.save(folder / "of.pt", {**content, "pretrained": "somebody's", "weights": weights, "average": weights})
    path = folder / f"{name}.onnx"
    assert main(["export", "--checkpoint", str(folder / "of.pt"), "--out", str(path)]) in (0, 3)  # wild numbers round
    return path


def images(count: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SIZE_HW, 3), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def answer(network: PanopticNetwork, batch: Tensor) -> list[Tensor]:
    return list(network.eval()(batch))


def assert_same_answers(found: list[Tensor], wanted: list[Tensor], share: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=share * float(other.abs().max()))


def begin_with(path: Path, network: PanopticNetwork) -> list[tuple[str, str]]:
    """Give a network `tiny` the weights of a model file; returns what was folded."""
    begun = read_beginning(path, network, "tiny")
    network.load_state_dict(begun.weights, strict=False)
    return begun.folded


@pytest.mark.parametrize("name", ["tiny", "mobileseg", "bisenet", "pidnet_s", "bisenetv2"])
def test_answers_as_the_file_and_still_so_when_spread(
    name: str,
    tmp_path: Path,
) -> None:
    trained = as_if_trained(name)
    path = write_model(trained, name, tmp_path)
    network = make_network(name, len(CAMVID))
    begun = read_beginning(path, network, name)
    assert len(begun.folded) > 0
    network.load_state_dict(begun.weights, strict=False)
    wanted = answer(trained, images())
    assert_same_answers(answer(network, images()), wanted, 0.01)  # the file's weights are rounded to float16
    before = answer(network, images())
    spread(network, begun.folded, [images(), images(seed=1)])
    assert_same_answers(answer(network, images()), before, 1e-3)


def test_a_spread_normalisation_has_seen_the_images_and_its_filters_are_as_large_as_fresh_ones(
    tmp_path: Path,
) -> None:
    network = make_network("tiny", len(CAMVID))
    folded = begin_with(write_model(as_if_trained("tiny"), "tiny", tmp_path), network)
    spread(network, folded, images().split(2))
    seen: dict[str, Tensor] = {}
    for layer, norm in folded:
        network.get_submodule(norm).register_forward_pre_hook(lambda _, given, norm=norm: seen.update({norm: given[0]}))
        weight = network.get_submodule(layer).weight
        rms = weight.pow(2).mean(dim=(1, 2, 3)).sqrt()
        torch.testing.assert_close(rms, torch.full_like(rms, (2 / weight[0].numel()) ** 0.5))
    answer(network, images())
    for _, norm in folded:
        module, values = network.get_submodule(norm), seen[norm].transpose(0, 1).flatten(1)
        torch.testing.assert_close(module.running_mean, values.mean(dim=1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module.running_var, values.var(dim=1, unbiased=False), rtol=1e-3, atol=1e-5)


class Planes(nn.Module):
    """Images as a convolution wants them."""

    def forward(self, image: Tensor) -> Tensor:
        return image.float().permute(0, 3, 1, 2)


def test_the_variance_of_what_is_nearly_constant_is_not_lost_beside_its_mean() -> None:
    network = nn.Sequential(Planes(), nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    nn.init.constant_(network[1].weight, 1.0)
    nearly_white = 255 - images() // 255
    spread(network, [("1", "2")], [nearly_white])
    sums = nearly_white.double().sum(dim=3)
    assert sums.mean() > 1000 * sums.std()
    wanted = sums.var(unbiased=False) * 2 / 3  # of filters as large as fresh ones
    torch.testing.assert_close(network[2].running_var.double(), wanted.expand(4), rtol=1e-5, atol=0)


def test_a_dead_filter_stays_as_it_is(tmp_path: Path) -> None:
    trained = as_if_trained("tiny")
    trained.backbone.shallow[0][0].weight.data[2] = 0
    network = make_network("tiny", len(CAMVID))
    folded = begin_with(write_model(trained, "tiny", tmp_path), network)
    spread(network, folded, [images()])
    assert_same_answers(answer(network, images()), answer(trained, images()), 0.01)
    assert not network.backbone.shallow[0][0].weight[2].any()


@pytest.fixture
def garden(tmp_path: Path) -> Iterator[Path]:
    """A folder with data, a configuration and a model file of the network `tiny`."""
    write_camvid(tmp_path)
    (tmp_path / "config.yaml").write_text(TINY_CONFIG.replace("0.01", "1.0e-12"))
    write_model(as_if_trained("tiny"), "tiny", tmp_path)
    yield tmp_path


def test_training_goes_on_where_a_model_file_is(garden: Path) -> None:
    """With a learning rate of next to nothing it stays there, and tells all that its weights learned from."""
    trainer = Trainer(load_config(garden / "config.yaml", data_root=str(garden)), CAMVID, garden / "beginning")
    trainer.start_from(garden / "tiny.onnx")
    assert_same_answers(answer(trainer.average, images()), answer(as_if_trained("tiny"), images()), 0.01)
    words = ["train", "--config", str(garden / "config.yaml"), "--data", str(garden), "--out", str(garden / "on")]
    assert main([*words, "--start-from", str(garden / "tiny.onnx"), "--stop-after", "1"]) == 0
    content = checkpoint.load(garden / "on/last.pt")
    assert (content["step"], content["pretrained"], content["data"]) == (1, "somebody's", ["garden", "camvid"])
    for name, wanted in trainer.network.named_parameters():
        if "loss_head" not in name:
            torch.testing.assert_close(content["weights"][name], wanted.data, msg=name)
    assert main([*words, "--resume"]) == 0
    assert checkpoint.load(garden / "on/last.pt")["data"] == ["garden", "camvid"]


def test_classes_in_another_order_answer_as_the_file_and_others_start_anew(garden: Path) -> None:
    turned = tuple(dataclasses.replace(c, id=10 - c.id) for c in reversed(CAMVID.classes))
    own = LabelSet((dataclasses.replace(turned[0], name="robot"), *turned[1:]))
    config = load_config(garden / "config.yaml", data_root=str(garden), allow_absent=["robot"])
    trainer = Trainer(config, own, garden / "other")
    fresh = trainer.network.semantic.classify.weight[0].detach().clone()
    trainer.start_from(garden / "tiny.onnx")
    found, wanted = answer(trainer.average, images()), answer(as_if_trained("tiny"), images())
    assert_same_answers([found[0][:, 1:], *found[1:]], [wanted[0].flip(1)[:, 1:], *wanted[1:]], 0.01)
    assert torch.equal(trainer.network.semantic.classify.weight[0], fresh)


def test_a_model_file_teaches_as_its_checkpoint_does(garden: Path) -> None:
    config = load_config(garden / "config.yaml", data_root=str(garden))
    device = torch.device("cpu")
    by_file, by_checkpoint = (
        Teacher(config, DistillSettings(str(garden / name)), CAMVID, device).answer(images())
        for name in ("tiny.onnx", "of.pt")
    )
    assert_same_answers(list(by_file)[:4], list(by_checkpoint)[:4], 0.01)
    told = Trainer(
        dataclasses.replace(config, distill=DistillSettings(str(garden / "tiny.onnx"))), CAMVID, garden / "taught"
    )
    told.train(until=1)
    assert checkpoint.load(garden / "taught/last.pt")["data"] == ["camvid", "garden"], "whose licence may bind it too"
    with pytest.raises(SegPerceptionError, match="knows other classes"):
        Teacher(config, DistillSettings(str(garden / "tiny.onnx")), LabelSet(CAMVID.classes[:5]), device)


def test_a_model_file_whose_weights_are_no_numbers_is_no_beginning(garden: Path, tmp_path: Path) -> None:
    """The first step would tell of a learning rate."""
    model = onnx.load(str(garden / "tiny.onnx"))
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = np.array(numpy_helper.to_array(weight))
    values.flat[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    model_file.save(model, tmp_path / "nan.onnx")
    with pytest.raises(SegPerceptionError, match=r"nan\.onnx: the weights are not finite"):
        read_beginning(tmp_path / "nan.onnx", make_network("tiny", len(CAMVID)), "tiny")


def of_half_precision(path: Path) -> Path:
    model = onnx.load(str(path))
    content = json.loads(model.metadata_props[0].value)
    model_file.write_metadata(model, content | {"precision": "fp16"})
    model_file.save(model, path)
    return path


def test_refuses_what_cannot_go_on(garden: Path) -> None:
    network = make_network("tiny", len(CAMVID))
    with pytest.raises(SegPerceptionError, match="is of the network 'tiny', the configuration asks for 'pidnet_s'"):
        read_beginning(garden / "tiny.onnx", network, "pidnet_s")
    network.backbone.added = nn.Conv2d(1, 1, 1)
    with pytest.raises(SegPerceptionError, match=r"lacks backbone\.added\.weight and 1 other tensors of tiny"):
        read_beginning(garden / "tiny.onnx", network, "tiny")
    with pytest.raises(SegPerceptionError, match="computes in fp16"):
        read_beginning(of_half_precision(garden / "tiny.onnx"), network, "tiny")
    with pytest.raises(SegPerceptionError, match="there is no"):
        read_beginning(garden / "missing.onnx", network, "tiny")
