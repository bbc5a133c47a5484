"""What is checked, in this order: what matters most comes first, in case time runs out."""

from __future__ import annotations

from seg_perception.gpu_check.runner import Section

_ROOM = "seg_perception.gpu_check"
_STEPS = ("gpu", "nvrtc")

SECTIONS = (
    Section("machine", f"{_ROOM}.check_machine:check", 40, 2),
    Section("kernels", f"{_ROOM}.check_kernels:check", 40, 3, ("nvrtc",)),
    Section("preprocess", f"{_ROOM}.check_preprocess:check", 25, 5, _STEPS),
    Section("decode", f"{_ROOM}.check_decode:check", 60, 8, _STEPS),
    Section("graphs", f"{_ROOM}.check_graphs:check", 30, 8, _STEPS),
    Section("frame", f"{_ROOM}.check_frame:check", 45, 12, (*_STEPS, "torch")),
    Section("training", f"{_ROOM}.check_training:check", 40, 12, ("gpu", "torch")),
    Section("times", f"{_ROOM}.check_times:check", 25, 8, _STEPS),
    Section("waiting", f"{_ROOM}.check_waiting:check", 10, 3, ("gpu",)),
    Section("tensorrt", f"{_ROOM}.check_tensorrt:check", 60, 10, ("tensorrt",)),
)
