"""The networks by name. A new one is a file here and a line in NETWORKS."""

from __future__ import annotations

from collections.abc import Callable

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.training.networks.heads import Backbone, PanopticNetwork
from seg_perception.training.networks.pidnet import PIDNetSmall

NETWORKS: dict[str, Callable[[], Backbone]] = {
    "pidnet_s": PIDNetSmall,
}


def make_network(name: str, classes: int) -> PanopticNetwork:
    """The named network with fresh weights and panoptic heads for this many classes."""
    if name not in NETWORKS:
        raise SegPerceptionError(f"there is no network '{name}': {nearest_name(name, NETWORKS)}")
    return PanopticNetwork(NETWORKS[name](), classes)
