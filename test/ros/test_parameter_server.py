"""Parameters that change in the executor's thread while another one learns what they may be. Needs no node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rclpy.parameter import Parameter

from seg_perception.labels import CAMVID, LabelSet
from seg_perception.ros.parameter_server import ParameterServer
from seg_perception.ros.settings import Settings


class Declaring:
    """A node without parameters but those that are declared on it."""

    def __init__(self) -> None:
        self.declared: dict[str, Any] = {}
        self.set: Any = None

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Any]:
        return {}

    def declare_parameter(self, name: str, value: Any, descriptor: Any, ignore_override: bool) -> None:
        self.declared[name] = value

    def undeclare_parameter(self, name: str) -> None:
        del self.declared[name]

    def add_on_set_parameters_callback(self, callback: Any) -> None:
        self.set = callback


def test_what_changes_while_classes_get_known_is_judged_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    node: Any = Declaring()
    server = ParameterServer(node)
    told, answers = Settings.told, list[Any]()

    def slow(settings: Settings, camera: str, labels: Any) -> Any:
        answer = told(settings, camera, labels)
        if not answers:
            answers.append(None)
            answers.append(node.set([Parameter("label_merge", value=["ground: road, nowhere"])]))
        return answer

    monkeypatch.setattr(Settings, "told", slow)
    server.know(CAMVID)
    assert not answers[1].successful and "there is no class 'nowhere'" in answers[1].reason
    assert server.settings.node.label_merge == ()


def test_a_node_that_is_configured_with_another_model_shows_its_costs() -> None:
    node: Any = Declaring()
    server = ParameterServer(node)
    server.know(CAMVID)
    road = CAMVID.by_name("road")
    assert node.declared["label_cost.road"] == road.drivable_cost and "label_cost.sky" in node.declared
    dearer = replace(road, drivable_cost=road.drivable_cost + 7)
    server.know(LabelSet((replace(dearer, id=0),)))
    costs = {name: cost for name, cost in node.declared.items() if name.startswith("label_cost.")}
    assert costs == {"label_cost.road": dearer.drivable_cost}
