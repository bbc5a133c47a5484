"""The networks by name: those of this project in NETWORKS, where a new one is a file here and a line, and the zoo's."""

from __future__ import annotations

from collections.abc import Callable

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.training.networks.bisenet import BiSeNet
from seg_perception.training.networks.bisenetv2 import BiSeNetV2, bisenetv2_l
from seg_perception.training.networks.ddrnet import ddrnet_23_slim
from seg_perception.training.networks.heads import Backbone, PanopticNetwork
from seg_perception.training.networks.mobileseg import MobileSeg, mobileseg_lite2
from seg_perception.training.networks.pidnet import pidnet_l, pidnet_m, pidnet_s, pidnet_s_light
from seg_perception.training.networks.zoo import ZOO, make_known

NETWORKS: dict[str, Callable[[], Backbone]] = {
    "pidnet_s": pidnet_s,
    "pidnet_s_light": pidnet_s_light,
    "pidnet_m": pidnet_m,
    "pidnet_l": pidnet_l,
    "bisenetv2": BiSeNetV2,
    "bisenetv2_l": bisenetv2_l,
    "ddrnet_23_slim": ddrnet_23_slim,
    "mobileseg": MobileSeg,
    "mobileseg_lite2": mobileseg_lite2,
    "bisenet": BiSeNet,
}


def make_network(name: str, classes: int) -> PanopticNetwork:
    """The named network with fresh weights and panoptic heads for this many classes.

    Raises SegPerceptionError where there is none, ModuleNotFoundError where the library of one of the zoo is missing.
    """
    if name.partition(":")[0] in ZOO:
        return PanopticNetwork(make_known(name), classes)
    if name not in NETWORKS:
        raise SegPerceptionError(f"there is no network '{name}': {nearest_name(name, [*NETWORKS, *ZOO])}")
    return PanopticNetwork(NETWORKS[name](), classes)
