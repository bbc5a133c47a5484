"""How things are followed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingSettings:
    """How things are followed.

    memory_s: how long a thing that is not seen is remembered. birth_frames: in so many frames it must be found before it
    is confirmed. foot_noise_px: standard deviation of the lowest row of a thing's mask, per 720 rows of the mask.
    acceleration_m_s2: by how much the speed of things on the ground changes within a second. use_odometry: whether speeds
    on the ground are measured in the odometry frame where the odometry is known. Raises ValueError.
    """

    enabled: bool = True
    memory_s: float = 2.0
    birth_frames: int = 3
    foot_noise_px: float = 1.5
    acceleration_m_s2: float = 2.0
    use_odometry: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("memory_s", 0.05, 10.0),
            ("birth_frames", 1, 100),
            ("foot_noise_px", 0.1, 100.0),
            ("acceleration_m_s2", 0.1, 50.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}: allowed is {low:g} to {high:g}")
