"""The model file that ships: small enough, whole, described, and as good as its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import CHECKOUT, MODELS

from seg_perception import model_file
from seg_perception.backends.shipped_models import find_model, given_model
from seg_perception.cli import main
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID

LARGEST_BYTES = 16_000_000
LARGEST_BYTES_TOGETHER = 32_000_000
LEAST_MIOU = {"camvid_pidnet_s": 0.67, "driving_mobileseg": 0.71, "driving_mobileseg_large": 0.74}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_a_shipped_model_is_small_described_and_has_a_card(path: Path) -> None:
    info = model_file.load(path)
    assert path.stat().st_size <= LARGEST_BYTES
    assert not info.note and info.float32_layers is not None
    assert info.parity["pixels_changed"] < 5e-4
    assert info.limits is not None, "any camera's shape"
    assert info.name == path.stem and info.training_data and info.license_note
    assert info.metrics, "the file must carry its figures"
    assert f"## {path.stem}" in (path.parent / "README.md").read_text()


def test_all_shipped_models_together_are_small() -> None:
    assert MODELS and sum(path.stat().st_size for path in MODELS) <= LARGEST_BYTES_TOGETHER


@pytest.mark.parametrize("name", LEAST_MIOU)
def test_a_shipped_model_reaches_its_figure_on_camvid(shared_data: Path, tmp_path: Path, name: str) -> None:
    model = next(path for path in MODELS if path.stem == name)
    words = ["evaluate", "--model", str(model), "--dataset", "camvid", "--root", str(shared_data / "camvid")]
    assert main([*words, "--split", "val", "--out", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "report.json").read_text())
    info = model_file.load(model)
    assert info.labels == CAMVID
    assert measured["miou"] >= LEAST_MIOU[name]
    assert measured["miou"] == pytest.approx(info.metrics["camvid val"]["miou"], abs=0.005)


def test_a_shipped_model_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = str(MODELS[0].relative_to(CHECKOUT))
    assert given_model(name).samefile(MODELS[0])
    assert given_model("models/none.onnx") == Path("models/none.onnx")


@pytest.mark.parametrize("word", ["driving_mobileseg", "driving_mobileseg.onnx", "models/driving_mobilseg"])
def test_a_shipped_models_bare_or_misspelt_name_is_answered_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    for verb in ("predict", "build-engine", "evaluate"):
        words = {"predict": ["--images", "i"], "evaluate": ["--bag", "b"]}.get(verb, [])
        assert main([verb, "--model", word, *words, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert f"there is no model file {word}: did you mean models/driving_mobileseg.onnx?" in said
    with pytest.raises(SegPerceptionError, match=r"no such file .*: did you mean models/driving_mobileseg\.onnx\?"):
        find_model(word, "onnxruntime")
    with pytest.raises(SegPerceptionError, match=r"those that ship are models/camvid_pidnet_s\.onnx, models/"):
        find_model("x.onnx", "onnxruntime")


def test_a_model_that_pip_installed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "share" / "seg_perception" / "models" / "mine.onnx"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr("sysconfig.get_path", {"data": str(tmp_path)}.get)
    assert given_model("models/mine.onnx") == file
