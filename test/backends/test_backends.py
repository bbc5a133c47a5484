from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from fakes import FakeBackend, empty_output, failing_model, model_info, tiny_model

from seg_perception import backends, cli, model_file
from seg_perception.backends import onnx_runtime
from seg_perception.backends.onnx_runtime import CPU_PROVIDER, OnnxRuntimeBackend
from seg_perception.backends.tensorrt import backend as tensorrt
from seg_perception.errors import BackendError, SegPerceptionError
from seg_perception.labels import CAMVID, LabelSet


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def _images(count=1, size_hw=(64, 96)):
    return np.random.default_rng(1).integers(0, 256, (count, *size_hw, 3), dtype=np.uint8)


def test_outputs_are_what_the_graph_says(model):
    images = _images()
    output = OnnxRuntimeBackend(model).infer(images)
    assert output.semantic_logits.shape == (1, 11, 8, 12)
    session = ort.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    heat, offset = session.run(["center_heatmap", "center_offset"], {"image": images})
    assert np.array_equal(output.center_heatmap, heat) and np.array_equal(output.center_offset, offset)
    assert 0 < heat.min() < heat.max() < 1


def test_a_batch_gives_what_its_images_give_alone(model):
    backend = OnnxRuntimeBackend(model)
    images = _images(3)
    together = backend.infer(images)
    for i in range(3):
        alone = backend.infer(images[i : i + 1])
        np.testing.assert_allclose(together.semantic_logits[i], alone.semantic_logits[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "images",
    [_images(1, (64, 64)), _images()[0], _images().astype(np.float32)],
    ids=["size", "dimensions", "type"],
)
def test_images_that_do_not_fit_are_refused_with_both_shapes(model, images):
    with pytest.raises(ValueError, match=r"images is .*, expected uint8 \[N, 64, 96, 3\]"):
        OnnxRuntimeBackend(model).infer(images)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"labels": LabelSet(CAMVID.classes[:5])}, r"semantic_logits \[1, 11, 8, 12\], .* \[1, 5, 8, 12\]"),
        ({"grid_hw": (16, 24)}, r"semantic_logits \[1, 11, 8, 12\], .* \[1, 11, 16, 24\]"),
    ],
)
def test_an_answer_that_is_not_of_the_files_classes_and_size_is_refused(model, says, words):
    """The file's graph may state other shapes than its nodes make; who decodes counts on what is stated, without bounds."""
    backend = OnnxRuntimeBackend(replace(model, **says))
    for run in (backend.warm_up, lambda: backend.infer(_images())):
        with pytest.raises(SegPerceptionError, match=words):
            run()


def test_a_network_that_fails_when_it_is_run_is_named(tmp_path):
    backend = OnnxRuntimeBackend(failing_model(tmp_path / "failing.onnx"))
    for run in (backend.warm_up, lambda: backend.infer(_images())):
        with pytest.raises(BackendError, match=r"cannot run .*failing.onnx \(.*\): export it again, or update"):
            run()


def test_a_fixed_batch_is_demanded(tmp_path):
    fixed = tiny_model(tmp_path / "two.onnx", batch=2)
    backend = OnnxRuntimeBackend(fixed)
    backend.warm_up()
    assert backend.infer(_images(2)).semantic_logits.shape[0] == 2
    with pytest.raises(ValueError, match=r"expected uint8 \[2, 64, 96, 3\]"):
        backend.infer(_images(1))


def test_an_unknown_provider_is_answered_with_the_nearest(model):
    with pytest.raises(SegPerceptionError, match="did you mean 'CPUExecutionProvider'"):
        OnnxRuntimeBackend(model, providers=["CPUExecutionProvidr"])


def test_a_provider_that_does_not_start_is_no_silent_fallback(model, monkeypatch):
    """ONNX Runtime itself takes the next one, as where a library of CUDA is missing, and where one fails in a run."""
    real, given = ort.InferenceSession, []

    class Session(real):
        def __init__(self, content, options, providers, **more):
            given.append(more)
            super().__init__(content, options, providers=["CPUExecutionProvider"], **more)

    monkeypatch.setattr(onnx_runtime.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU_PROVIDER])
    monkeypatch.setattr(onnx_runtime.ort, "InferenceSession", Session)
    asked = {"backend": "onnxruntime", "providers": ["CUDAExecutionProvider"]}
    with pytest.raises(BackendError, match="CUDAExecutionProvider does not start here: check the driver"):
        backends.choose(model, **asked, log=lambda line: None)
    assert given == [{"enable_fallback": 0}]
    lines = []
    chosen = backends.choose(model, **asked, fallback="cpu", log=lines.append)
    assert chosen.describe()["device"] == "CPU" and "does not start here" in chosen.describe()["fallback"]
    assert "does not start here" in lines[-1]


def test_facts_name_the_runtime_the_device_and_the_model(model):
    facts = OnnxRuntimeBackend(model, threads=1).describe()
    assert facts == {
        "backend": f"onnxruntime {ort.__version__}",
        "device": "CPU",
        "model": "tiny",
        "precision": "fp32",
        "threads": "1",
    }


def test_threads_are_the_physical_cores_unless_said(model):
    assert onnx_runtime.physical_cores() >= 1
    assert OnnxRuntimeBackend(model).describe()["threads"] == str(onnx_runtime.physical_cores())


def test_a_closed_backend_says_so(model):
    backend = OnnxRuntimeBackend(model)
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.infer(_images())


def test_facts_may_be_asked_for_while_another_thread_closes_it(model):
    looks = []

    class Closing(OnnxRuntimeBackend):
        @property
        def _session(self):
            looks.append(1)
            return looks_at if len(looks) == 1 else None

        @_session.setter
        def _session(self, session):
            nonlocal looks_at
            looks_at = session

    looks_at = None
    assert Closing(model).describe()["device"] == "CPU"


def test_a_model_that_does_not_load_is_named(tmp_path, model):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.path.read_bytes()[:300])
    info = model_info()
    object.__setattr__(info, "path", broken)
    with pytest.raises(SegPerceptionError, match=r"cannot load .*broken.onnx"):
        OnnxRuntimeBackend(info)


# The choice


def test_without_a_gpu_auto_is_the_cpu_and_says_why_in_one_line(model, monkeypatch):
    monkeypatch.setattr(tensorrt, "why_unavailable", lambda: "no GPU was found")
    lines = []
    chosen = backends.choose(model, log=lines.append)
    assert isinstance(chosen, OnnxRuntimeBackend)
    assert len(lines) == 1 and "onnxruntime" in lines[0] and "no GPU was found" in lines[0]


class _Gpu(FakeBackend):
    def __init__(self, model, *, cache_dir, precision, batch, log):
        super().__init__(lambda images: empty_output(model))


def _broken(model, *, cache_dir, precision, batch, log):
    raise SegPerceptionError("the engine cannot be built: free GPU memory")


def test_with_a_gpu_auto_is_tensorrt(model, monkeypatch):
    monkeypatch.setattr(tensorrt, "why_unavailable", lambda: None)
    monkeypatch.setattr(tensorrt, "TensorRTBackend", _Gpu)
    lines = []
    assert isinstance(backends.choose(model, log=lines.append), _Gpu)
    assert len(lines) == 1 and "a GPU and TensorRT were found" in lines[0]


@pytest.mark.parametrize("asked", ["auto", "tensorrt"])
def test_an_error_of_tensorrt_is_no_silent_fallback(model, monkeypatch, asked):
    monkeypatch.setattr(tensorrt, "why_unavailable", lambda: None)
    monkeypatch.setattr(tensorrt, "TensorRTBackend", _broken)
    with pytest.raises(SegPerceptionError, match="free GPU memory"):
        backends.choose(model, backend=asked, log=lambda line: None)
    lines = []
    chosen = backends.choose(model, backend=asked, fallback="cpu", log=lines.append)
    assert isinstance(chosen, OnnxRuntimeBackend) and "free GPU memory" in lines[-1]


def test_a_model_that_takes_no_single_image_is_refused_before_it_is_run(tmp_path, capsys):
    """Frames come one by one, and those of several cameras together only where any number will do."""
    path = tiny_model(tmp_path / "two.onnx", batch=2).path
    with pytest.raises(
        SegPerceptionError, match=r"two.onnx takes 2 images at a time .*: name a file that takes any number"
    ):
        backends.choose(model_file.load(path), log=lambda line: None)
    assert cli.main(["export", "--model", str(path), "--out", str(tmp_path / "one.onnx")]) == 2
    assert "takes 2 images at a time" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["backend", "fallback"])
def test_an_unknown_choice_is_answered_with_the_nearest(model, name):
    with pytest.raises(SegPerceptionError, match=r"'tensort' .*(did you mean|known)"):
        backends.choose(model, **{name: "tensort"}, log=lambda line: None)
