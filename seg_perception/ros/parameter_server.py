"""The declared parameters of a running node: what came from YAML or the command line, and changes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.panoptic.relabel import parameter_name
from seg_perception.ros.declaration import Declaration
from seg_perception.ros.parameters import LABEL_COST, declarations, label_cost
from seg_perception.ros.settings import FOREIGN, Settings, camera_names

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_LIST_TYPES = {
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


class ParameterServer:
    """Declares every parameter on node and keeps one Settings object that changes as a whole.

    node must have been made with automatically_declare_parameters_from_overrides, which is how the given values are
    found. A refused value does not stop the node: it stands in `problem` until it is mended, and the default is shown.
    """

    def __init__(self, node: Node, changed: Callable[[], None] = lambda: None) -> None:
        """changed: called after each change of the settings."""
        given = {
            name: parameter.value
            for name, parameter in node.get_parameters_by_prefix("").items()
            if not name.startswith(FOREIGN)
        }
        for name in given:
            node.undeclare_parameter(name)
        self._values = {name: value for name, value in given.items() if value is not None}
        self._settings: Settings | None = None
        self._changed = changed
        self._node = node
        self._labels: LabelSet | None = None
        self._costs: list[str] = []
        self._being_declared = ""
        self.problem = ""
        self._judge(self._values)
        self._declare(node)
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def settings(self) -> Settings:
        """The settings in force; raises SegPerceptionError when what was given is refused."""
        if self._settings is None:
            raise SegPerceptionError(self.problem)
        return self._settings

    def know(self, labels: LabelSet) -> None:
        """Which classes there are, once the model is loaded: each one's cost is a parameter from now on. Raises
        SegPerceptionError where what was given is of another class."""
        self._labels = labels  # first: what changes meanwhile, in another thread, is judged by them too
        settings = self.settings
        for camera in settings.poses:
            settings.told(camera, labels)
        # A node that is configured anew may have another model, with other classes and other costs.
        while self._costs:
            self._node.undeclare_parameter(self._costs.pop())
        for label in labels.classes:
            name = LABEL_COST + parameter_name(label.name)
            own = [label_cost(f"{camera}.{name}") for camera in settings.poses if camera]
            for row in (label_cost(name, label.drivable_cost), *own):
                value = row.check(self._values.get(row.name, row.default))
                self._being_declared = row.name
                self._node.declare_parameter(row.name, value, _descriptor(row), ignore_override=True)
                self._costs.append(row.name)
        self._being_declared = ""

    def _judge(self, values: Mapping[str, Any]) -> None:
        try:
            self._settings, self.problem = Settings.from_values(values), ""
        except SegPerceptionError as error:
            self._settings, self.problem = None, str(error)

    def _declare(self, node: Node) -> None:
        try:
            rows = declarations(camera_names(self._values))
        except SegPerceptionError:
            rows = declarations()
        for row in rows.values():
            value: Any = row.default
            try:
                value = row.check(self._values.get(row.name, row.default))
            except SegPerceptionError as error:
                node.get_logger().error(str(error))
            if isinstance(value, tuple):
                value = list(value)
                if not value and row.spec.read_only:
                    # An empty list has no type of its own, so it is declared by type and stays unset.
                    value = _LIST_TYPES[row.spec.item]
            node.declare_parameter(row.name, value, _descriptor(row), ignore_override=True)

    def _on_set(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        changes = {parameter.name: parameter.value for parameter in parameters}
        if [*changes] == [self._being_declared]:
            return SetParametersResult(successful=True)
        ours = {name: value for name, value in changes.items() if not name.startswith(FOREIGN)}
        values = {**self._values, **ours}
        try:
            settings = Settings.from_values(values)
            if self._labels is not None:
                for camera in settings.poses:
                    settings.told(camera, self._labels)
        except SegPerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values, self._settings, self.problem = values, settings, ""
        self._changed()
        return SetParametersResult(successful=True)


def _descriptor(row: Declaration) -> ParameterDescriptor:
    spec = row.spec
    description = f"{spec.description} (allowed: {spec.allowed})" if spec.allowed else spec.description
    descriptor = ParameterDescriptor(name=row.name, description=description, read_only=spec.read_only)
    # Python's [] arrives as a list of bytes and the command line's as one of truth values: Settings judge them.
    descriptor.dynamic_typing = isinstance(row.default, tuple) and not spec.read_only
    if spec.limits and isinstance(row.default, int):
        low, high = map(int, spec.limits)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif spec.limits and isinstance(row.default, float):
        low_real, high_real = map(float, spec.limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low_real, to_value=high_real, step=0.0)]
    return descriptor
