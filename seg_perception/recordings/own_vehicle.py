"""Propose an ego mask from a recording: what of the picture never moves while the vehicle drives.

Of frames that are spread over the recording it is looked at how much each pixel changes, and what does not, in one piece
with the picture's lower edge or its sides, is proposed as the own vehicle: white in a PNG of the images' size, with a
margin, since masks of a network stray by some pixels. Look at the picture beside it (<out>_overlay.jpg) and mend the PNG
in any paint program where it is wrong: what is white counts as unseen. The parameter `ego_mask` takes it, and so does
`--ego-mask` of run, evaluate and predict. The recording must be one of driving; of a vehicle that stands nothing can be told.

Example:
  seg_perception ego-mask --bag drive --topic /front/image_raw --out front_ego.png
  seg_perception ego-mask --video drive.mp4 --out ego.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.camera_model import Floats
from seg_perception.errors import SegPerceptionError
from seg_perception.files import write_image
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.options import whole
from seg_perception.pictures.overlay import hatch
from seg_perception.recordings.open_source import open_source
from seg_perception.recordings.sources import Source
from seg_perception.writing import check_file, user_path, write_json

DEFAULT_FRAMES, LEAST_FRAMES = 200, 10
WIDTH_PX = 320
"""Of the images as they are compared."""
MARGIN = 0.01
"""Of the picture's height, by which a proposal is wider than what was found."""
_LEAST_SHARE = 0.002
"""Of the picture: less is no vehicle."""
_FAINT, _NOISE = 1.0, 0.3
"""Gradients, on the scale of _gradients, below which an edge tells nothing, and of what noise makes."""
_STAYS = 0.9
"""Share of an edge's gradient that the mean over all frames keeps, from which on it is taken to stay."""
_STANDS = 0.7
"""The same as a mean over all edges of the picture, from which on the vehicle stands."""
_GAP_PX, _THIN_PX = 6, 3
"""In small pixels: gaps of that size in a wall are closed, what is thinner is no vehicle."""


def add_option(parser: argparse.ArgumentParser, says: str) -> None:
    """--ego-mask of another verb; says: what it does there."""
    parser.add_argument(
        "--ego-mask",
        type=user_path,
        metavar="PNG",
        help=f"what is not black in it is the own vehicle: {says}; `ego-mask` proposes one",
    )


def of_option(arguments: argparse.Namespace) -> EgoMask | None:
    """What --ego-mask names; raises SegPerceptionError when it is of no use."""
    return EgoMask.read(arguments.ego_mask) if arguments.ego_mask else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--bag", metavar="BAG", help="rosbag2 (MCAP, sqlite3) or ROS 1 bag")
    origin.add_argument("--video", metavar="F", help="video file")
    origin.add_argument("--images", metavar="DIR", help="folder of images in the order of their names")
    parser.add_argument("--topic", metavar="T", help="image topic of a bag (default: the one with most images)")
    parser.add_argument("--out", type=user_path, required=True, metavar="PNG", help="file to write the mask to")
    parser.add_argument(
        "--frames",
        type=whole("--frames", LEAST_FRAMES),
        default=DEFAULT_FRAMES,
        metavar="N",
        help=f"frames to look at, spread over the recording (default: {DEFAULT_FRAMES})",
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was found as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Propose, write, say so; 0 done, 1 done although some frames could not be read."""
    if arguments.out.suffix.lower() != ".png":
        raise SegPerceptionError(f"--out is {arguments.out}: a mask is a PNG, give a name that ends in .png")
    check_file(arguments.out)
    picture = arguments.out.with_name(f"{arguments.out.stem}_overlay.jpg")
    with closing(open_source(arguments.bag or arguments.video or arguments.images, topic=arguments.topic)) as source:
        still = Still()
        for rgb in _spread(source, arguments.frames):
            still.add(rgb)
        mask = still.proposal(source.name)
        problems, notes = source.problems, source.notes
    write_image(arguments.out, mask)
    write_image(picture, still.picture(mask))
    numbers: dict[str, Any] = {
        "mask": str(arguments.out),
        "picture": str(picture),
        "source": source.name,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "frames": still.count,
        "share": round(float((mask > 0).mean()), 4),
        "problems": problems,
    }
    if arguments.json:
        write_json(arguments.json, numbers)
    for line in (*problems, *notes):
        print(line, file=sys.stderr)
    print(
        f"{100 * numbers['share']:.1f} % of the picture does not move in {still.count} frames: {arguments.out}\n"
        f"look at {picture}, and mend the mask where it is wrong"
    )
    return 1 if problems else 0


def _spread(source: Source, frames: int) -> Iterator[NDArray[np.uint8]]:
    """At most so many images, RGB, evenly spread over a source, as far as it says how many it has."""
    total = source.total or 0
    with tqdm(total=source.total, unit="frame", desc="ego-mask") as progress:
        for number, item in enumerate(source):
            progress.update()
            if total <= frames or number * frames % total < frames:
                yield item.frame.rgb


class Still:
    """Which edges of a recording's picture stay where they are. count: images so far.

    An edge that never moves has the same gradient in every frame: the size of the mean gradient is then the mean of the
    sizes, and their ratio is 1. Those edges are walls; what cannot be reached across them from where the picture moves
    belongs to the vehicle, reflections in it or not, if it is in one piece with the picture's lower edge.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: Floats = np.zeros((3, 1, 1))
        self._latest: NDArray[np.uint8] = np.zeros((0, 0, 3), np.uint8)

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """The next image, uint8 [H, W, 3]; raises SegPerceptionError where its size is another."""
        if self.count and self._latest.shape != rgb.shape:
            before, now = (f"{shape[1]}x{shape[0]}" for shape in (self._latest.shape, rgb.shape))
            raise SegPerceptionError(f"the images change from {before} to {now} px: give a recording of one camera")
        self._sums = self._sums + _gradients(rgb)
        self._latest = rgb.copy()
        self.count += 1

    def proposal(self, name: str) -> NDArray[np.uint8]:
        """uint8 [H, W], 255 where the own vehicle is proposed, else 0.

        name: of the recording, for sentences. Raises SegPerceptionError where too few images came, where nearly all of the
        picture stands still, and where nothing of it does.
        """
        if self.count < LEAST_FRAMES:
            raise SegPerceptionError(
                f"{name} gave {self.count} images, {LEAST_FRAMES} are needed: give a longer recording"
            )
        x, y, size = self._sums / self.count
        stays = np.hypot(x, y) / (size + _NOISE)
        has_edges = size > _FAINT
        if stays[has_edges].mean() > _STANDS if has_edges.any() else True:
            raise SegPerceptionError(
                f"nearly all of {name} stands still, so nothing tells the own vehicle from the rest: give a recording in "
                "which the vehicle drives"
            )
        own = _behind_walls((stays > _STAYS) & (np.hypot(x, y) > _FAINT))
        if not own.mean() >= _LEAST_SHARE:
            raise SegPerceptionError(
                f"{name} shows no own vehicle at the lower edge of its picture: it needs no ego mask, or paint one by hand"
            )
        height, width = self._latest.shape[:2]
        large = cv2.resize(own.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        margin = max(round(MARGIN * height), 1)
        mask: NDArray[np.uint8] = cv2.dilate(large, _disk(margin)) * np.uint8(255)
        return mask

    def picture(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]: the latest image with a mask of its size hatched in it."""
        drawn = self._latest.copy()
        hatch(mask, drawn)
        return drawn


def _gradients(rgb: NDArray[np.uint8]) -> Floats:
    """Gradient to the right and down, and its size, float64 [3, h, w], of a small image on a scale where a change by the
    same share of the light is the same."""
    height = max(round(rgb.shape[0] * WIDTH_PX / rgb.shape[1]), 8)
    small = cv2.resize(rgb, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    grey = np.log1p(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float64)) * 40
    grey = cv2.GaussianBlur(grey, (0, 0), 1)
    x, y = cv2.Sobel(grey, cv2.CV_64F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_64F, 0, 1) / 8
    return np.stack((x, y, np.hypot(x, y)))


def _behind_walls(walls: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What cannot be reached from the picture's middle row but across walls, and touches the lower edge, bool [h, w]."""
    closed = cv2.morphologyEx(walls.astype(np.uint8), cv2.MORPH_CLOSE, _disk(_GAP_PX // 2))
    _, pieces = cv2.connectedComponents(1 - closed, connectivity=4)
    middle = pieces[len(pieces) // 2]
    beyond = ~np.isin(pieces, np.unique(middle[middle > 0]))
    # Walls that bound nothing, such as marks on the road that are always there, are thin; the vehicle is not.
    solid = cv2.morphologyEx(beyond.astype(np.uint8), cv2.MORPH_OPEN, np.ones((_THIN_PX, _THIN_PX), np.uint8))
    _, pieces = cv2.connectedComponents(solid)
    touching = np.unique(pieces[-1][pieces[-1] > 0])
    return np.isin(pieces, touching)


def _disk(radius: int) -> NDArray[np.uint8]:
    kernel: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return kernel
