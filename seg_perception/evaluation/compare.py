"""Tell what differs between two report.json, B - A, and whether limits are kept.

Metrics of labels and percentiles of times come with 95 % bootstrap intervals over frames; * marks those that leave 0 out.
Frames that both reports hold are drawn together. Each interval stands for itself: of twenty, one leaves 0 out by chance.
Frames of a drive that follow each other are alike: --block N draws N neighbours at once, else intervals are too narrow.

--fail-if takes "KEY<NUMBER" or "KEY>NUMBER", KEY as in the table or in --json. A number with a sign limits the difference
B - A: "miou<-0.01" fails when B's mIoU is more than 0.01 lower, "age_ms.p95>+5" when B's answers are 5 ms older. A number
without one limits B itself: "age_ms.p95>100", "iou.car<0.5". The estimate decides, not its interval. With any limit, labelled
frames of A that B has not measured break it too: what is not measured keeps no limit.

Exit codes: 0 compared, 2 these cannot be compared, 3 a limit is broken.

Example:
  seg_perception compare --out out/diff old/report.json new/report.json --fail-if "miou<-0.01"
  seg_perception compare old/report.json new/report.json --fail-if "age_ms.p95>100" --json difference.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_perception.errors import SegPerceptionError
from seg_perception.metrics.differences import Result, compare
from seg_perception.metrics.limits import Limit, add_limits_argument
from seg_perception.metrics.run_report import RunReport
from seg_perception.options import whole
from seg_perception.reports import compare_page
from seg_perception.writing import check_folder, user_path, write_json, write_text

EXIT_BROKEN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("a", type=user_path, metavar="A.json", help="report.json of what was there before")
    parser.add_argument("b", type=user_path, metavar="B.json", help="report.json of what is new")
    add_limits_argument(parser)
    parser.add_argument(
        "--block",
        type=whole("--block", 1),
        default=1,
        metavar="N",
        help="neighbouring frames drawn together (default: 1)",
    )
    parser.add_argument("--force", action="store_true", help="compare though the data are not the same")
    parser.add_argument("--out", type=user_path, metavar="DIR", help="folder to write compare.html and compare.json to")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print; the exit codes stand above."""
    limits = [Limit.parse(words) for words in arguments.fail_if]
    if arguments.out:
        check_folder(arguments.out)
    a, b = RunReport.load(arguments.a), RunReport.load(arguments.b)
    result = compare(a, b, limits, block=arguments.block, force=arguments.force)
    if arguments.json:
        write_json(arguments.json, result.to_json())
    return _tell(result, arguments.out)


def add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    """--baseline and --fail-if."""
    parser.add_argument(
        "--baseline", type=user_path, metavar="A.json", help="earlier report.json to compare with, see compare"
    )
    add_limits_argument(parser)


def open_baseline(arguments: argparse.Namespace) -> Baseline | None:
    """What add_baseline_arguments asked for, None without; to be called before an evaluation, so that mistakes are told
    before it.

    Raises SegPerceptionError when the baseline is no report, or a limit cannot be understood.
    """
    if arguments.baseline is not None:
        return Baseline(arguments.baseline, arguments.fail_if)
    if arguments.fail_if:
        raise SegPerceptionError("--fail-if has nothing to compare with: give --baseline A.json")
    return None


class Baseline:
    """An earlier report, and the limits that a new one must keep."""

    def __init__(self, path: Path, fail_if: Sequence[str]) -> None:
        """Raises SegPerceptionError when path is no report or a limit cannot be understood."""
        self._limits = [Limit.parse(words) for words in fail_if]
        self._report = RunReport.load(path)
        for limit in self._limits:
            if limit.of_difference:
                limit.check_key(self._report.flat, str(path))

    def judge(self, numbers: Mapping[str, Any], out: Path) -> int:
        """Compare the numbers of a new report with it, print the differences and write them into the folder out; 0, or
        EXIT_BROKEN when a limit is."""
        return _tell(compare(self._report, RunReport(str(out / "report.json"), numbers), self._limits), out)


def _tell(result: Result, out: Path | None) -> int:
    """Print, write into the folder out if there is one; the exit code."""
    print(compare_page.table(result))
    for note in result.notes:
        print(f"note: {note}")
    if out is not None:
        try:
            write_json(out / "compare.json", result.to_json())
            write_text(out / "compare.html", compare_page.render(result))
        except OSError as error:
            raise SegPerceptionError(
                f"the comparison cannot be written to {out} ({error.strerror}): give another --out"
            ) from error
        print(f"comparison in {out / 'compare.html'}")
    for verdict in result.verdicts:
        print(compare_page.sentence(verdict), file=sys.stderr if verdict.broken else sys.stdout)
    for sentence in result.broken:
        print(f"broken: {sentence}", file=sys.stderr)
    return EXIT_BROKEN if result.broken or any(verdict.broken for verdict in result.verdicts) else 0
