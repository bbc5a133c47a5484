"""Whether the kernels compile for this GPU, or without one for GPUs of robots; and whether the GPU loads them."""

from __future__ import annotations

import ctypes
import importlib
import time
from typing import Any

from seg_perception.backends.cuda.kernels import STRUCTS, compile_for
from seg_perception.errors import SegPerceptionError
from seg_perception.gpu_check.lab import Lab

OFFSETS = ("__builtin_offsetof({struct}, {field})", "__INTADDR__(&(({struct} *)0)->{field})")
"""Ways to ask where a field lies: NVRTC 13.5 knows the first, 13.0 only the second, and neither has the header for offsetof."""
ROBOTS = {"8.7": "Orin", "8.9": "Ada", "9.0": "Hopper", "11.0": "Thor", "12.0": "Blackwell"}


def check(lab: Lab) -> None:
    """Compile, and with a GPU load."""
    nvrtc = lab.libraries.nvrtc or importlib.import_module("cuda.bindings.nvrtc")
    has_gpu = "gpu" not in lab.libraries.missing()
    targets = {lab.cuda.gpu().compute_capability: "this GPU"} if has_gpu else ROBOTS
    for capability, name in targets.items():
        with lab.part(f"kernels compile for {name} ({capability})"):
            began = time.perf_counter()
            code = compile_for(capability, nvrtc)
            took_ms = 1e3 * (time.perf_counter() - began)
            lab.check(f"kernels compile for {name} ({capability})", bool(code), f"{took_ms:.0f} ms, {len(code)} bytes")
        if not lab.quick:
            with lab.part(f"structs lie as ctypes lays them, {capability}"):
                _check_layout(lab, capability, nvrtc)
    if has_gpu:
        with lab.part("kernels load"):
            kernels = lab.kernels
            names = kernels.check_all()
            lab.check("kernels load, each is there", len(names) > 10, f"{len(names)} kernels")
    else:
        lab.leave_out("kernels load", "no GPU")


def _check_layout(lab: Lab, capability: str, nvrtc: Any) -> None:
    what, first = f"structs lie as ctypes lays them, {capability}", STRUCTS[0]
    for way in OFFSETS:
        try:
            compile_for(capability, nvrtc, _assertion(way, first, first._fields_[0][0]))
        except SegPerceptionError:
            continue
        compile_for(capability, nvrtc, _layout(way))
        lab.check(what, True, "by static assertions")
        return
    lab.leave_out(what, "this NVRTC tells no offsets")


def _layout(way: str) -> str:
    """C++ that compiles only where the compiler lays out the structs as ctypes does. way: of OFFSETS."""
    lines = []
    for struct in STRUCTS:
        lines.append(f'static_assert(sizeof({struct.__name__}) == {ctypes.sizeof(struct)}, "size");')
        lines += [_assertion(way, struct, name) for name, *_ in struct._fields_]
    return "\n".join(lines)


def _assertion(way: str, struct: type[ctypes.Structure], field: str) -> str:
    told = way.format(struct=struct.__name__, field=field)
    return f'static_assert({told} == {getattr(struct, field).offset}, "{field}");'
