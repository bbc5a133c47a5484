"""Costs and names of classes while the node runs, over real DDS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from rcl_interfaces.srv import GetParameters
from ros_harness import FakeCamera, NodeProcess, Peer, connect, newest, set_parameters
from sensor_msgs.msg import Image

from seg_perception.labels import CAMVID
from seg_perception_msgs.msg import DrivableAreas, Segments


def test_costs_and_names_change_while_it_runs_for_each_camera(start: Callable[..., NodeProcess], peer: Peer) -> None:
    names = ("left", "right")
    cameras = {name: FakeCamera(peer, f"{name}/image") for name in names}
    kinds = {"label_mask": Image, "drivable_areas": DrivableAreas, "segments": Segments}
    heard: dict[str, dict[str, list[Any]]] = {
        name: {topic: peer.listen(kind, f"/segmentation/{name}/{topic}") for topic, kind in kinds.items()}
        for name in names
    }
    told_of = peer.diagnostics()
    costs = {"label_cost.fence": 7, "right.label_cost.fence": 33}
    start(camera_names=list(names), **{name.replace(".", "__"): value for name, value in costs.items()})
    for name in names:
        connect(peer, cameras[name], heard[name]["label_mask"])

    def answer(name: str) -> tuple[Any, DrivableAreas, Segments]:
        image = cameras[name].send(cameras[name].message(seed=5))
        topics = heard[name]
        peer.until(lambda: all(newest(messages, image) for messages in topics.values()), "all outputs of a frame")
        mask, areas, segments = (newest(topics[topic], image) for topic in kinds)
        return np.frombuffer(bytes(mask.data), np.uint8), areas, segments

    def cost(name: str, class_name: str) -> int:
        return next((area.cost for area in answer(name)[1].areas if area.class_name == class_name), -1)

    def shown(name: str) -> int:
        request = GetParameters.Request(names=[name])
        return int(peer.call(GetParameters, "/segmentation/get_parameters", request).values[0].integer_value)

    def legend() -> set[str]:
        values = [value for message in told_of for status in message.status for value in status.values]
        return set(json.loads(next((one.value for one in reversed(values) if one.key == "legend"), "{}")))

    before = answer("left")[0]
    assert {"fence", "pole", "sign", "sky"} == {CAMVID.names[number] for number in np.unique(before)}
    assert (cost("left", "fence"), cost("right", "fence")) == (7, 33)
    assert (shown("label_cost.fence"), shown("right.label_cost.fence"), shown("left.label_cost.fence")) == (7, 33, -2)
    assert set_parameters(peer, label_cost__fence=20, left__label_cost__fence=21).successful
    assert (cost("left", "fence"), cost("right", "fence")) == (21, 33)
    assert set_parameters(peer, left__label_cost__fence=-2, right__label_cost__fence=-2).successful
    assert (cost("left", "fence"), cost("right", "fence")) == (20, 20)
    assert set_parameters(peer, label_cost__fence=-1, label_cost__pole=50).successful
    assert (cost("left", "fence"), cost("left", "pole")) == (-1, 50)

    assert not set_parameters(peer, label_cost__fence=101).successful
    assert not set_parameters(peer, label_cost__fnece=1).successful
    refused = set_parameters(peer, label_merge=["anything: fence, fnece"])
    assert not refused.successful and "there is no class 'fnece': did you mean 'fence'?" in refused.reason
    assert cost("left", "fence") == -1

    assert set_parameters(peer, label_merge=["far away: sky, sign"]).successful
    mask, _, segments = answer("right")
    ids = {name: CAMVID.by_name(name).id for name in ("sky", "sign")}
    np.testing.assert_array_equal(mask, np.where(before == ids["sign"], ids["sky"], before))
    told = {segment.class_name: segment for segment in segments.segments}
    assert "far away" in told and not {"sky", "sign"} & told.keys()
    assert told["far away"].area == np.isin(before, list(ids.values())).sum()
    peer.until(lambda: legend() == {"far away", *CAMVID.names} - {"sky", "sign"}, "the legend of what is told")
    assert set_parameters(peer, label_merge=[]).successful
    np.testing.assert_array_equal(answer("right")[0], before)
