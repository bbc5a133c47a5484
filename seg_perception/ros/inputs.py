"""What comes in: images, and their calibration."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.camera.encodings import encoding_note
from seg_perception.camera.messages import (
    RECTIFIED,
    BadImageError,
    DecodedImage,
    check_compressed,
    check_image,
    to_camera_model,
    to_host_memory,
)
from seg_perception.camera_model import CameraModel
from seg_perception.errors import SegPerceptionError
from seg_perception.ros.diagnostics import CameraMonitor
from seg_perception.ros.notices import LOG_EVERY_S
from seg_perception.ros.parameters import NodeSettings
from seg_perception.ros.qos_events import MISMATCH, RELIABILITY, subscription_events
from seg_perception.ros.stamps import Doubt, StampJudge
from seg_perception.ros.video import MOST_WAITING, VIDEO_MESSAGES, VideoThread, video_message

TWO_PUBLISHERS = "two_publishers"
"""Cause of images that two nodes send on one topic."""
TWO_CALIBRATIONS = "two_calibrations"
"""Cause of images whose camera_info changes to and fro."""
NAMED_RECTIFIED = "named_rectified"
"""Cause of images whose topic is called as rectified ones are, though they are taken for raw ones."""
TO_AND_FRO_S = 5.0
"""What changes back sooner was not turned back by a person."""
WRONG_TYPE = "wrong_type"
"""Cause of messages that do not come since they are of another type."""
SOURCE_GONE_S = 2.0
"""Silence of the publisher of video after which another one's packets are taken."""
MOST_PUBLISHERS = 8
"""Of images on one topic, whose numbers are kept."""
MOST_NOTES = 32
"""That are told once; names that came with messages may be without end."""
NUMBERED = hasattr(Subscription, "CallbackType")
"""Whether rclpy tells callbacks a message's number: from Iron on; Humble's gives them the message alone."""


@dataclass(frozen=True)
class Arrival:
    """A camera message and when it came, seconds of the steady clock. doubt: what is wrong with its stamp."""

    message: Any
    arrived_s: float
    doubt: Doubt | None = None

    @property
    def stamp_ns(self) -> int:
        """The message's stamp; below 0 where it is no time."""
        stamp = self.message.header.stamp
        return int(stamp.sec * 10**9 + stamp.nanosec)


class SequenceGaps:
    """Counts images that were sent and never came, by the number that the middleware gives each one of a publisher."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def before(self, info: Mapping[str, Any]) -> int | None:
        """How many went missing between the last image of this one's publisher and this one.

        None where that cannot be known: up to Jazzy the middleware's numbers come without their publisher.
        """
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or publisher is None:
            return None
        key = repr(publisher)
        before = self._numbers.pop(key, number)
        # The latest heard comes last, so that publishers long gone leave first.
        self._numbers[key] = number
        if len(self._numbers) > MOST_PUBLISHERS:
            del self._numbers[next(iter(self._numbers))]
        return max(number - before - 1, 0)


class Calibration:
    """A camera's latest camera_info; outlives the subscription, since some publish it only once."""

    def __init__(self) -> None:
        """latest: camera and problem, of which one is none; read it where both are needed, since the executor changes it."""
        self._key: tuple[Any, ...] = ()
        self._former: tuple[Any, ...] = ()
        self._changed_s = -math.inf
        self.latest: tuple[CameraModel | None, str] = None, "no camera_info"
        self.note = ""

    @property
    def camera(self) -> CameraModel | None:
        """None where there is none, or none that can be used."""
        return self.latest[0]

    @property
    def problem(self) -> str:
        """Why there is no camera, empty where there is one."""
        return self.latest[1]

    def wait(self, topic: str) -> None:
        """Say what is waited for where nothing has been heard yet."""
        if not self._key:
            self.latest = None, f"no camera_info on {topic}"

    def hear(self, message: CameraInfo, rectified: bool) -> Doubt | None:
        """Take a message over where it differs from the last. Says what is wrong where it is the one before that again, as of two
        who publish different ones: half of the frames are then placed on the ground by another camera."""
        arrays = (tuple(values) for values in (message.d, message.k, message.r, message.p))
        roi = message.roi
        cut = (message.binning_x, message.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height)
        key = (message.width, message.height, message.distortion_model, cut, *arrays)
        if key == self._key:
            return None
        now_s = time.monotonic()
        turns_back = key == self._former and now_s - self._changed_s < TO_AND_FRO_S
        self._former, self._key, self._changed_s = self._key, key, now_s
        try:
            camera = to_camera_model(message, rectified)
            self.latest, self.note = (camera, ""), camera.note
        except SegPerceptionError as error:
            self.latest, self.note = (None, str(error)), ""
        if not turns_back:
            return None
        one, other = (f"{key[0]}x{key[1]} of fx {key[5][0]:g} px" for key in (self._former, self._key))
        return Doubt(
            TWO_CALIBRATIONS,
            f"camera_info changes to and fro between {one} and {other}, and the ground with it: let one node publish it",
        )


class CameraInput:
    """The subscriptions of one camera. accept gets every message that can be read, and says whether it replaced one,
    None where it was not taken."""

    def __init__(
        self,
        node: Node,
        name: str,
        settings: NodeSettings,
        accept: Callable[[Arrival], bool | None],
        calibration: Calibration,
    ) -> None:
        self._node, self._accept = node, accept
        transport = settings.image_transport
        compressed = transport == "compressed"
        limits = settings.image_limits
        self._check: Callable[[Any], object] = (
            partial(check_compressed, limits=limits)
            if compressed
            else partial(check_image, grey_16uc1=settings.image_16uc1_is_grey, limits=limits)
        )
        self._rectified = settings.image_rectified
        prefix = f"{name}/" if name else ""
        # A keep-last depth of one: a queue in the middleware would only make frames old before the newest wins here.
        # What a newer one overwrites there is seen as a gap in the publisher's numbers.
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._kind, topic = (CompressedImage, f"{prefix}image/compressed") if compressed else (Image, f"{prefix}image")
        self._video: VideoThread | None = None
        images_qos = qos
        if transport in VIDEO_MESSAGES:
            self._kind, topic = video_message(transport), f"{prefix}image/{transport}"
            self._video = VideoThread(self._on_frame, self.reject, limits)
            # Every packet stands on those before it.
            images_qos = QoSProfile(depth=MOST_WAITING, reliability=ReliabilityPolicy.RELIABLE)
        self._source: str | None = None
        self._source_s = -math.inf
        self._mismatch: tuple[str, str] | None = None
        self.monitor = CameraMonitor(
            node.resolve_topic_name(topic), settings.camera_timeout, time.monotonic(), settings.max_age
        )
        self._named_rectified = any(part.startswith(RECTIFIED) for part in self.monitor.topic.split("/"))
        self._misnamed: Doubt | None = None
        self._gaps = SequenceGaps()
        self._stamps = StampJudge(settings.stamp_max_age, settings.stamp_max_ahead)
        self._logged_s: dict[str, float] = {}
        self._images: Any = None
        self._infos: Any = None
        self._latched: Any = None
        self._is_open, self._subscribing = False, threading.Lock()
        self._told: set[str] = set()
        self.calibration = calibration
        calibration.wait(node.resolve_topic_name(f"{prefix}camera_info"))
        self._topics, self._qos = (f"{prefix}camera_info", topic), (qos, images_qos)

    def open(self) -> None:
        """Subscribe, once who is to hear of it knows this input: the first message may be here, in the executor's thread,
        before this returns."""
        (infos, images), (infos_qos, images_qos) = self._topics, self._qos
        with self._subscribing:
            self._infos = self._node.create_subscription(CameraInfo, infos, self._on_info, infos_qos)
            self._images = self._subscribe(images, images_qos)
            self._is_open = True

    def _subscribe(self, topic: str, qos: QoSProfile) -> Any:
        on_image = self._on_numbered_image if NUMBERED else self._on_unnumbered_image
        events = subscription_events(self._node.resolve_topic_name(topic), self._on_mismatch)
        return self._node.create_subscription(self._kind, topic, on_image, qos, event_callbacks=events)

    def destroy(self) -> None:
        """Stop listening."""
        if self._video is not None:
            self._video.close()
        with self._subscribing:
            self._is_open = False
            for subscription in (self._images, self._infos, self._latched):
                if subscription is not None:
                    self._node.destroy_subscription(subscription)

    def reject(self, cause: str, sentence: str, details: str = "") -> None:
        """Count a frame that cannot be used, and log each cause at most every LOG_EVERY_S seconds."""
        now_s = time.monotonic()
        self.monitor.bad(cause, sentence, now_s)
        self._log(cause, sentence + (details and f"\n{details}"), now_s)

    def doubt(self, doubt: Doubt) -> None:
        """Count a frame that is run although something is wrong with it, and log it as reject does."""
        now_s = time.monotonic()
        self.monitor.doubted(doubt.cause, doubt.sentence, now_s)
        self._log(doubt.cause, doubt.sentence, now_s)

    def _log(self, cause: str, sentence: str, now_s: float) -> None:
        if now_s - self._logged_s.get(cause, -math.inf) >= LOG_EVERY_S:
            self._logged_s[cause] = now_s
            self._node.get_logger().warning(f"{self.monitor.topic}: {sentence}")

    def _tell_once(self, note: str) -> None:
        """Log what is odd, though it does no harm."""
        if note and note not in self._told and len(self._told) < MOST_NOTES:
            self._told.add(note)
            self._node.get_logger().info(f"{self.monitor.topic}: {note}")

    def _on_numbered_image(self, message: Any, info: Mapping[str, Any]) -> None:
        lost, publisher = self._gaps.before(info), info.get("publisher_gid")
        self.monitor.lost(lost)
        self._on_image(message, lost or 0, None if publisher is None else repr(publisher))

    def _on_unnumbered_image(self, message: Any) -> None:
        self.monitor.lost(None)
        self._on_image(message)

    def _on_image(self, message: Any, lost: int = 0, publisher: str | None = None) -> None:
        now_s = time.monotonic()
        self.monitor.received(now_s)
        try:
            to_host_memory(message)
            if self._video is None:
                self._check(message)
        except BadImageError as error:
            self.reject(error.cause, str(error))
            return
        if self._video is not None:
            self._on_packet(self._video, message, now_s, lost, publisher)
            return
        self._tell_once(encoding_note(getattr(message, "encoding", "")))
        self._take(Arrival(message, now_s))

    def _on_packet(self, video: VideoThread, message: Any, now_s: float, lost: int, publisher: str | None) -> None:
        """Packets of two publishers make no stream: those of the first are taken as long as it sends."""
        if publisher != self._source:
            if now_s - self._source_s < SOURCE_GONE_S:
                self.reject(
                    TWO_PUBLISHERS, "packets of video come from two publishers: those of the second one are left out"
                )
                return
            lost, self._source = max(lost, 1), publisher
        self._source_s = now_s
        for _ in range(video.put(message, now_s, lost > 0)):
            self.monitor.replaced()

    def _on_frame(self, image: DecodedImage, arrived_s: float) -> None:
        """The thread that decodes: a frame of the stream."""
        header = Header(stamp=image.header.stamp, frame_id=image.header.frame_id)
        self._take(Arrival(replace(image, header=header), arrived_s))

    def _take(self, arrival: Arrival) -> None:
        """Judge the stamp of an image and hand it on."""
        doubt = self._stamps.judge(arrival.stamp_ns, self._node.get_clock().now().nanoseconds)
        if doubt is not None:
            self.doubt(doubt)
            arrival = replace(arrival, doubt=doubt)
        replaced = self._accept(arrival)
        if replaced is not None:
            self.monitor.accepted(arrival.arrived_s)
        if replaced:
            self.monitor.replaced()

    def _on_info(self, message: CameraInfo) -> None:
        doubt = self.calibration.hear(message, self._rectified)
        self._tell_once(self.calibration.note)
        if self._named_rectified and not self._rectified:
            self._misnamed = self._doubt_of_name(message)
        if doubt is not None:
            self.doubt(doubt)

    def _doubt_of_name(self, message: CameraInfo) -> Doubt | None:
        """Where K and P describe different images, and the topic is called as P's is: nothing else tells which of them comes."""
        try:
            if to_camera_model(message, rectified=True) == self.calibration.camera:
                return None
        except SegPerceptionError:  # there is none of rectified images
            return None
        return Doubt(
            NAMED_RECTIFIED,
            "the images' topic is called as rectified ones are, but K and the distortion of camera_info are used, which describe "
            "raw images: set image_rectified, or take the raw images",
        )

    def _on_mismatch(self, policy: str, sentence: str) -> None:
        self._mismatch = policy, sentence
        if self._video is None or policy != RELIABILITY:
            self._node.get_logger().warning(sentence)
            self.monitor.doubted(MISMATCH, sentence, time.monotonic())

    def look_around(self) -> None:
        """Once a second, in the executor: subscribe to what is published in another way than most, and name what is wrong with
        who publishes the images; nothing once another thread has stopped listening."""
        with self._subscribing:
            if self._is_open:
                self.monitor.decodes(self._video.decoding_s if self._video is not None else None)
                self._hear_latched_infos()
                self._look_at_publishers()
                if self._misnamed is not None:
                    self.doubt(self._misnamed)

    def _look_at_publishers(self) -> None:
        topic = self._images.topic_name
        publishers = self._node.get_publishers_info_by_topic(topic)
        names = sorted({f"{one.node_namespace.rstrip('/')}/{one.node_name}" for one in publishers})
        if len(publishers) > 1:
            self.doubt(
                Doubt(
                    TWO_PUBLISHERS,
                    f"{len(publishers)} publishers send images on this topic ({', '.join(names)}): let one, "
                    "or give each camera a topic of its own",
                )
            )
        own = f"{self._kind.__module__.partition('.')[0]}/msg/{self._kind.__name__}"
        others = sorted({one.topic_type for one in publishers} - {own})
        if others:  # of which the middleware says nothing
            self.doubt(
                Doubt(
                    WRONG_TYPE,
                    f"{', '.join(names)} sends {', '.join(others)} on this topic, and {own} is taken, so nothing of it comes: "
                    "set image_transport to what is sent, or remap another topic",
                )
            )
        if self._mismatch is None:
            return
        policy, sentence = self._mismatch
        if self._video is not None and policy == RELIABILITY:
            self._mismatch = None
            self._take_what_comes(topic)
        elif names and not self.monitor.has_input:
            self.monitor.doubted(MISMATCH, sentence, time.monotonic())

    def _take_what_comes(self, topic: str) -> None:
        """Subscribe anew to video whose publisher does not send again what was lost."""
        self._tell_once(
            "the video is published as best effort: after a lost packet nothing is seen until the next key frame"
        )
        self._node.destroy_subscription(self._images)
        self._images = self._subscribe(topic, QoSProfile(depth=MOST_WAITING, reliability=ReliabilityPolicy.BEST_EFFORT))

    def _hear_latched_infos(self) -> None:
        """Subscribe to a calibration that is published once for all who come later, where there is such a publisher.

        Not from the start: every other publisher would then warn of a subscriber that asks for more than it offers.
        """
        if self._latched is not None or self.calibration.camera is not None:
            return
        offered = self._node.get_publishers_info_by_topic(self._infos.topic_name)
        if any(one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in offered):
            latched = QoSProfile(
                depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
            )
            self._latched = self._node.create_subscription(CameraInfo, self._infos.topic_name, self._on_info, latched)
