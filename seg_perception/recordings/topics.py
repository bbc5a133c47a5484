"""The topics of a bag by their names: which are a camera's images, and what lies beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seg_perception.camera.messages import shows_picture
from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.bag_file import IMAGE_TYPES, STILL_TYPES, TF_TYPE, Bag

IMAGE_TOPIC, INFO_TOPIC, LABEL_TOPIC, INSTANCE_TOPIC = (
    "/camera/image_raw",
    "/camera/camera_info",
    "/camera/label",
    "/camera/instance",
)
"""Where `make-bag` writes; labels are looked for beside the image topic, under the same last names."""

TF_TOPIC = "/tf_static"
FORMS = ("/compressed", "/ffmpeg", "/foxglove")
"""What image_transport puts behind a camera's topic for what it makes of its images."""
NO_CAMERA = ("label", "instance", "label_mask", "instance_mask", "confidence", "segmentation_mask")
"""Last names of image topics that no camera sends: labels, and what the node answers."""


def image_topics(path: Path, wanted: Sequence[str] = (), *, everything: bool = False) -> list[str]:
    """The image topics of a bag to take: the wanted ones in their order, or every camera's, or without a wish the one
    with most images. Depth is no picture, unless it is wanted or there is nothing else.

    Raises SegPerceptionError listing what there is.
    """
    with Bag(path) as bag:
        if wanted and not everything:
            return [bag.require_image(topic) for topic in dict.fromkeys(wanted)]
        return _once(_cameras(bag), bag.counts) if everything else [most_images(bag)]


def most_images(bag: Bag) -> str:
    """The camera's topic with most images; raises SegPerceptionError listing what there is."""
    return max(_cameras(bag), key=lambda name: bag.counts[name])


def _cameras(bag: Bag) -> list[str]:
    found = [name for name, kind in sorted(bag.types.items()) if kind in IMAGE_TYPES and bag.counts[name]]
    found = [name for name in found if without_form(name).rsplit("/", 1)[-1] not in NO_CAMERA]
    if not found:
        raise SegPerceptionError(f"the bag {bag.path} holds no images: its topics are {bag.listed}")
    return [name for name in found if len(found) == 1 or _shows_pictures(bag, name)] or found


def _shows_pictures(bag: Bag, topic: str) -> bool:
    """Whether the images of a topic are pictures rather than depth, by the first of them."""
    if bag.types[topic] not in STILL_TYPES:
        return True
    _, _, message = next(bag.messages([topic]), (topic, 0, None))
    return message is None or shows_picture(message)


def without_form(topic: str) -> str:
    """The camera's topic, of which this one is a form."""
    return next((topic.removesuffix(form) for form in FORMS if topic.endswith(form)), topic)


def _once(topics: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """One form of what is recorded raw, compressed and as video: that which holds most of it, or else the raw one."""
    forms: dict[str, list[str]] = {}
    for topic in topics:
        forms.setdefault(without_form(topic), []).append(topic)
    return [max(names, key=lambda name: counts[name]) for names in forms.values()]


def beside(image_topic: str, usual: str) -> str:
    """The topic beside an image topic that has the last name of the usual one."""
    base, slash, _ = without_form(image_topic).rpartition("/")  # none of a topic that was written without
    return f"{base}{slash}{usual.rsplit('/', 1)[-1]}"


def transforms_topic(bag: Bag, image_topic: str) -> str | None:
    """Where a bag has the static transforms of an image topic's robot: in the nearest of the namespaces that it lies in; None
    where nowhere."""
    namespaces = [image_topic[:place] for place, letter in enumerate(image_topic) if letter == "/"][::-1]
    names = (*(f"{namespace}{TF_TOPIC}" for namespace in namespaces), TF_TOPIC, TF_TOPIC[1:])
    return next((name for name in names if bag.types.get(name) == TF_TYPE and bag.counts[name]), None)
