"""Train a panoptic network and keep checkpoints.

Example:
  seg_perception train --config config/train/camvid_pidnet_s.yaml --data data --out out/train
  seg_perception train --config config/train/camvid_pidnet_s.yaml --data data --out out/train --resume
  seg_perception train --auto data/mine --out out/mine
  torchrun --nproc-per-node 4 -m seg_perception train --config config/train/camvid_pidnet_s.yaml --data data --out out/train

--auto DATA looks at the folder and writes OUT/config.yaml and OUT/labels.yaml: the adapter that fits, the classes, whole
recordings to judge by where the data set has no split for it, the network for this machine, size and steps. Then it trains,
exports OUT/model.onnx and evaluates it into OUT/val.

OUT gets last.pt (to resume), best.pt (best on the validation data), log.jsonl and, where tensorboard is installed,
tensorboard/. The batch of the configuration is divided among torchrun's processes. With losses that
do not choose among pixels, and with sync_batch_norm, two processes on a CPU gave the weights of one within 1e-4 of each after
four steps, as test/training/loop/test_distributed.py measures; mixed precision and several GPUs were not compared.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from seg_perception.errors import SegPerceptionError
from seg_perception.options import number, whole
from seg_perception.training.config import DATA_ROOT_VARIABLE, TrainConfig, load_config
from seg_perception.writing import check_folder, results_folder, user_path, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=user_path, help="YAML file, see config/train")
    what.add_argument(
        "--auto",
        type=user_path,
        action=_Auto,
        metavar="DATA",
        help="folder of labelled images: write the configuration that fits, train, export and evaluate",
    )
    parser.set_defaults(mode="")
    parser.add_argument("--labels", metavar="L", help="of --auto: the label set, a name or a YAML file")
    parser.add_argument("--network", metavar="NAME", help="of --auto: another network than what fits the machine")
    parser.add_argument("--out", type=user_path, required=True, help="folder for checkpoints and the log")
    parser.add_argument(
        "--data", help=f"folder that holds the data sets (default: data_root, else ${DATA_ROOT_VARIABLE})"
    )
    parser.add_argument(
        "--steps", type=whole("--steps", 1), help="train this many steps in all instead of the configuration's"
    )
    parser.add_argument(
        "--minutes", type=number("--minutes", above=0), help="train this long in all, whatever the number of steps"
    )
    parser.add_argument(
        "--stop-after", type=whole("--stop-after", 1), help="stop after this step, to go on later with --resume"
    )
    parser.add_argument("--start-from", type=user_path, help="begin with the weights of this checkpoint or model file")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument("--json", type=user_path, help="write the last validation here")


class _Auto(argparse.Action):
    """Keeps the folder, and has the verb run by what --auto needs."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        namespace.auto, namespace.mode = values, "auto"


def check_options(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError where two options say how long to train, or where to begin."""
    if arguments.steps and arguments.minutes:
        raise SegPerceptionError("--steps and --minutes both say how long to train: give one of them")
    if arguments.resume and arguments.start_from:
        raise SegPerceptionError("--start-from begins a run and --resume goes on with one: give one of them")


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    from seg_perception.training import distributed  # torch, which --help does not need
    from seg_perception.training.loop.room import told_where_memory_ends
    from seg_perception.training.loop.trainer import Trainer

    if arguments.labels or arguments.network:
        raise SegPerceptionError(
            "--labels and --network are for --auto, and the configuration names both: leave them out"
        )
    check_options(arguments)
    check_folder(arguments.out)
    minutes = 0.0 if arguments.steps else arguments.minutes  # steps count, also where the file says minutes
    config = load_config(arguments.config, data_root=arguments.data, steps=arguments.steps, minutes=minutes)
    with distributed.joined_processes(), told_where_memory_ends(), ExitStack() as held:
        distributed.told_by_first(lambda: _begin(arguments, config, held))
        trainer = Trainer(config, config.open_labels(), arguments.out)
        if arguments.resume:
            trainer.resume()
        else:
            trainer.take_pretrained()
            if arguments.start_from:
                trainer.start_from(arguments.start_from)
        if arguments.stop_after and arguments.stop_after <= trainer.step:
            raise SegPerceptionError(
                f"--stop-after is {arguments.stop_after}, and the run is at step {trainer.step} already: name a later one, or "
                "leave it out"
            )
        last = sys.maxsize if config.minutes else config.steps
        try:
            trainer.train(min(last, arguments.stop_after or last))
        except KeyboardInterrupt:
            if distributed.rank() == 0 and trainer.saved:
                print(_what_next(arguments.out, trainer.saved, is_done=False))
            raise
        if distributed.rank() == 0:
            if arguments.json:
                write_json(arguments.json, trainer.metrics)
            print(_what_next(arguments.out, trainer.step, is_done=trainer.done >= 1))
    return 0


def _begin(arguments: argparse.Namespace, config: TrainConfig, held: ExitStack) -> None:
    """Hold --out, in the first process for all, since two runs would go on from each other's checkpoints. Raises
    SegPerceptionError as results_folder and _check_beginning."""
    held.enter_context(results_folder(arguments.out))
    _check_beginning(arguments, config)


def _check_beginning(arguments: argparse.Namespace, config: TrainConfig) -> None:
    """Raises SegPerceptionError for what cannot be begun or gone on with, before minutes are spent on reading the data."""
    from seg_perception.training.loop import checkpoint
    from seg_perception.training.loop.beginning import network_of
    from seg_perception.training.networks import make_network
    from seg_perception.training.networks.pretrained import put_pretrained

    last = arguments.out / "last.pt"
    if arguments.resume:
        checkpoint.check_there(last)
        return
    if last.exists():
        raise SegPerceptionError(f"{arguments.out} holds a training run already: add --resume, or choose another --out")
    if arguments.start_from:
        checkpoint.check_network(arguments.start_from, network_of(arguments.start_from), config.network)
    if config.pretrained:
        put_pretrained(make_network(config.network, 1), config.network, config.pretrained)


def _what_next(out: Path, step: int, *, is_done: bool) -> str:
    """What a person does with a run that stopped at this step."""
    if not is_done:
        return f"stopped after step {step}: the same command with --resume goes on from {out / 'last.pt'}"
    best, model = (shlex.quote(str(out / name)) for name in ("best.pt", "model.onnx"))
    return f"trained {step} steps; `seg_perception export --checkpoint {best} --out {model}` makes a model file of the best"
