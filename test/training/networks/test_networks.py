"""Every network: its published size, the shapes it promises, and what deployment and training touch of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="networks need torch")

from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from seg_perception import model_file  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.training.export.from_checkpoint import to_onnx  # noqa: E402
from seg_perception.training.networks import NETWORKS, make_network  # noqa: E402
from seg_perception.training.networks.bisenet import BiSeNet  # noqa: E402
from seg_perception.training.networks.bisenetv2 import BiSeNetV2, bisenetv2_l  # noqa: E402
from seg_perception.training.networks.ddrnet import DDRNet, ddrnet_23_slim  # noqa: E402
from seg_perception.training.networks.heads import Backbone, PanopticNetwork, paper_head  # noqa: E402
from seg_perception.training.networks.mobileseg import MobileSeg  # noqa: E402
from seg_perception.training.networks.pidnet import PIDNet, pidnet_l, pidnet_m, pidnet_s  # noqa: E402

CLASSES = 5
H, W = 64, 96


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """The network without memory for its weights: enough for shapes, counts and what depends on what."""
    with torch.device("meta"):
        return make()


@pytest.mark.parametrize(
    ("make", "head_channels", "size_hw", "parameters", "multiply_accumulates"),
    [
        # The PIDNet paper's comparison on Cityscapes (CVPR 2023), at 1024x2048.
        (pidnet_s, 128, (1024, 2048), 7.6e6, 47.6e9),
        (pidnet_m, 128, (1024, 2048), 34.4e6, 197.4e9),
        (pidnet_l, 256, (1024, 2048), 36.9e6, 275.8e9),
        # The DDRNet paper's comparison on Cityscapes, at 1024x2048.
        (ddrnet_23_slim, 64, (1024, 2048), 5.7e6, 36.3e9),
        # BiSeNetV2 as its public reproductions count it, with their head of 1024 channels.
        (BiSeNetV2, 1024, (1024, 2048), 3.4e6, 98e9),
        # The BiSeNetV2 paper, which feeds 512x1024 and gives no parameters. It doesn't say how wide its final
        # head is either: 384 channels times α, chosen here, is the one unknown under both numbers.
        (lambda: BiSeNetV2(dense=True), 384, (512, 1024), None, 21.15e9),
        (bisenetv2_l, 768, (512, 1024), None, 118.51e9),
    ],
    ids=["pidnet_s", "pidnet_m", "pidnet_l", "ddrnet_23_slim", "bisenetv2", "bisenetv2_paper", "bisenetv2_l"],
)
def test_published_size(
    make: Callable[[], Backbone],
    head_channels: int,
    size_hw: tuple[int, int],
    parameters: float | None,
    multiply_accumulates: float,
) -> None:
    """With the paper's own head for 19 classes in place of the panoptic ones, within 3 %."""
    backbone = on_meta(make).eval()
    head = on_meta(lambda: paper_head(backbone.fused_channels, head_channels, 19)).eval()
    if parameters is not None:
        counted = sum(p.numel() for part in (backbone, head) for p in part.parameters())
        assert counted == pytest.approx(parameters, rel=0.03)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head(backbone(torch.zeros(1, 3, *size_hw, device="meta")).fused)
    assert counter.get_total_flops() / 2 == pytest.approx(multiply_accumulates, rel=0.03)


AUXILIARY_STRIDES = {"bisenetv2": (4, 8, 16, 32), "bisenet": (8, 16), "mobileseg": (), "pidnet": (8,), "ddrnet": (8,)}


@pytest.mark.parametrize("name", NETWORKS)
def test_features_have_the_channels_and_strides_that_the_backbone_promises(name: str) -> None:
    backbone = on_meta(NETWORKS[name])
    features = backbone(torch.zeros(2, 3, H, W, device="meta"))
    assert features.fused.shape == (2, backbone.fused_channels, H // 8, W // 8)
    assert features.shallow.shape == (2, backbone.shallow_channels, H // 4, W // 4)
    strides = AUXILIARY_STRIDES[name.partition("_")[0]]
    wanted = [(2, c, H // s, W // s) for c, s in zip(backbone.auxiliary_channels, strides, strict=True)]
    assert [part.shape for part in features.auxiliary] == wanted
    if name.startswith("pidnet"):
        assert features.boundary.shape == (2, backbone.boundary_channels, H // 8, W // 8)
    else:
        assert features.boundary is None and backbone.boundary_channels is None


@pytest.mark.parametrize("name", NETWORKS)
def test_deployment_runs_every_weight_but_those_of_the_loss_heads(name: str) -> None:
    network = on_meta(lambda: make_network(name, CLASSES)).eval()
    logits, heatmap, offset = network(torch.zeros(1, H, W, 3, dtype=torch.uint8, device="meta"))
    assert [part.shape for part in (logits, heatmap, offset)] == [(1, c, H // 4, W // 4) for c in (CLASSES, 1, 2)]
    (logits.sum() + heatmap.sum() + offset.sum()).backward()
    for parameter_name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == ("loss_head" not in parameter_name), parameter_name


def training_loss(network: PanopticNetwork, batch: Tensor) -> Tensor:
    output = network.training_outputs(batch)
    outputs = [output.logits, output.heatmap_logits, output.offset, *output.auxiliary_logits]
    outputs += [] if output.boundary_logits is None else [output.boundary_logits]
    return torch.stack([(part - 1).square().mean() for part in outputs]).sum()


@pytest.mark.parametrize("name", NETWORKS)
def test_training_uses_every_weight(name: str) -> None:
    network = on_meta(lambda: make_network(name, CLASSES)).train()
    training_loss(network, torch.zeros(2, H, W, 3, dtype=torch.uint8, device="meta")).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


FAMILIES: dict[str, Callable[[], Backbone]] = {
    "pidnet": lambda: PIDNet(16, pyramid=16),
    "pidnet_large": lambda: PIDNet(16, pyramid=16, large=True),
    "bisenetv2": BiSeNetV2,
    "ddrnet": lambda: DDRNet(16, pyramid=16),
    "mobileseg": lambda: MobileSeg(channels=16),
    "bisenet": lambda: BiSeNet(channels=16),
}
"""Every kind of block, narrow; not below 16 channels, where torch 2.13 crashes on x86 in the gradient of a convolution."""


@pytest.fixture(params=list(FAMILIES))
def slim(request: pytest.FixtureRequest) -> PanopticNetwork:
    torch.manual_seed(0)
    return PanopticNetwork(FAMILIES[request.param](), CLASSES)


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def assert_close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * max(1.0, float(wanted.abs().max())))


def test_gradients_of_every_weight_are_finite_and_not_zero(slim: PanopticNetwork) -> None:
    training_loss(slim.train(), images(3)).backward()
    for name, parameter in slim.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


def test_an_image_gets_the_same_answer_alone_in_a_batch_and_in_onnx(slim: PanopticNetwork) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    slim.eval()
    batch = images(2)
    with torch.no_grad():
        together = slim(batch)
        alone = [torch.cat(parts) for parts in zip(*(slim(image[None]) for image in batch), strict=True)]
    model = to_onnx(slim, (64, 64))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    in_onnx = session.run(None, {model_file.INPUT: batch.numpy()})
    for one, other, exported in zip(together, alone, in_onnx, strict=True):
        assert not torch.equal(one[0], one[1])
        assert_close(other, one)
        assert_close(torch.from_numpy(exported), one)
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    modes = {attribute.s for node in resizes for attribute in node.attribute if "mode" in attribute.name}
    assert {b"linear", b"half_pixel"} <= modes <= {b"linear", b"half_pixel", b"floor"}  # floor: of nearest, not used


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(SegPerceptionError, match="'bisenetv2_l'"):
        make_network("bisenet_v2_l", CLASSES)


def test_checkpoints_of_pidnet_s_still_load() -> None:
    """Names and shapes of its weights are what trained checkpoints hold."""
    state = on_meta(pidnet_s).state_dict()
    text = "\n".join(f"{name} {tuple(value.shape)}" for name, value in sorted(state.items()))
    assert (len(state), zlib.crc32(text.encode())) == (438, 2187491013)
