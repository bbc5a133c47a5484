"""The GPU's libraries as a section finds them. Tests put a fake GPU in their place."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from seg_perception.backends.cuda.driver import Cuda, Gpu
from seg_perception.backends.cuda.kernels import CudaKernels
from seg_perception.errors import SegPerceptionError, cause_of
from seg_perception.model_file import ModelInfo

if TYPE_CHECKING:
    from seg_perception.backends.tensorrt.engine import Flavor  # else imported where onnx is known to be there


@dataclass
class Libraries:
    """runtime, driver, nvrtc: as of cuda-python, None = that. torch_device: where PyTorch computes. quick: small and few,
    for a fake GPU, whose every thread is a turn of a loop."""

    runtime: Any = None
    driver: Any = None
    nvrtc: Any = None
    torch_device: str = "cuda"
    quick: bool = False

    def cuda(self) -> Cuda:
        """CUDA's runtime, with a context current on this thread. Raises SegPerceptionError where there is none."""
        cuda = Cuda(self.runtime)
        cuda.gpu()
        cuda.call("cudaSetDevice", 0)
        return cuda

    def kernels(self, gpu: Gpu) -> CudaKernels:
        """The compiled kernels. Raises SegPerceptionError where they cannot be compiled or loaded."""
        return CudaKernels(gpu, self.nvrtc, self.driver)

    def missing(self) -> dict[str, str]:
        """Why what sections need is not here, by its name among gpu, nvrtc, torch and tensorrt."""
        looks: dict[str, Callable[[], str]] = {
            "gpu": self._without_gpu,
            "nvrtc": self._without_nvrtc,
            "torch": self._without_torch,
            "tensorrt": self._without_tensorrt,
        }
        return {name: reason for name, look in looks.items() if (reason := look())}

    def flavors(self) -> list[str]:
        """Names of the flavours of TensorRT that can be imported."""
        from seg_perception.backends.tensorrt import engine as engines

        return engines.installed()

    def flavor(self, name: str, model: ModelInfo) -> Flavor:
        """One of them, to run model with. Raises SegPerceptionError where it does not start."""
        from seg_perception.backends.tensorrt import engine as engines

        return engines.load_flavor(name)

    def tensor(self, address: int, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """PyTorch's view of an array in the GPU's memory."""
        held = SimpleNamespace(
            __cuda_array_interface__={
                "data": (address, False),
                "shape": shape,
                "typestr": np.dtype(dtype).str,
                "version": 3,
            }
        )
        return importlib.import_module("torch").as_tensor(held, device=self.torch_device)

    def queue(self, stream: int, work: Callable[[], object]) -> None:
        """Do what PyTorch does in work on a stream of ours."""
        torch = importlib.import_module("torch")
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            work()

    def torch_graph(self, work: Callable[[], object]) -> Callable[[], object]:
        """work, which was done once before, as a CUDA graph of PyTorch's own: call it to replay. Raises RuntimeError."""
        torch = importlib.import_module("torch")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        torch.cuda.synchronize()
        replay: Callable[[], object] = graph.replay
        return replay

    def _without_gpu(self) -> str:
        try:
            self.cuda()
        except SegPerceptionError as error:
            return str(error)
        return ""

    def _without_tensorrt(self) -> str:
        if importlib.util.find_spec("onnx") is None:
            return "onnx, which reads model files, is not installed"
        return "" if self.flavors() else "neither tensorrt nor tensorrt_rtx is installed"

    def _without_nvrtc(self) -> str:
        try:
            (self.nvrtc or importlib.import_module("cuda.bindings.nvrtc")).nvrtcVersion()
        except (ImportError, RuntimeError, OSError) as error:
            cause = cause_of(error, 120)
            return f"no run-time compiler ({cause}): install cuda-bindings and nvidia-cuda-nvrtc for this CUDA"
        return ""

    def _without_torch(self) -> str:
        try:
            torch = importlib.import_module("torch")
        except (ImportError, OSError) as error:
            return f"no PyTorch ({error}): install torch"
        if self.torch_device == "cuda" and not torch.cuda.is_available():
            return f"PyTorch {torch.__version__} finds no GPU: install a torch for this CUDA"
        return ""
