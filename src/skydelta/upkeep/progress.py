"""How far a run is, from its files alone: the same for a run here and for one on a cluster.

Sources: the statuses; Snakemake's marks of the jobs it has begun (.snakemake/incomplete, one file
for each output, named by its path in base 64) and of a run that is on (.snakemake/locks); the last
lines of its log; and the stages' own logs, which each writes as soon as it really runs.
"""

import base64
import binascii
import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skydelta.errors import CorruptFileError, MissingFileError
from skydelta.io.checks import read_json
from skydelta.io.outcome import OK
from skydelta.upkeep.summary import read_outcomes
from skydelta.upkeep.tree import PRODUCTS, STAGES, SUMMARY, ExposureFiles, known_exposures

UNREADABLE = "unreadable_status"
"""Outcome of an exposure whose status file is damaged."""

_STEPS = re.compile(r"^(\d+) of (\d+) steps \(", re.MULTILINE)
_TIME = re.compile(r"^\[(\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4})\]", re.MULTILINE)
_STAGE_OF = {prefix: stage for stage, prefix in PRODUCTS.items()} | {"diaSrc": "calibrate"}


@dataclass(frozen=True)
class Run:
    """Snakemake's latest run in a folder.

    Parameters
    ----------
    done, total
        Jobs.
    started, last_sign
        When its first job began and when it, or a stage of it, last wrote to a log; Unix time, s.
    has_lock
        Whether Snakemake's lock is there: it is running, or was killed.
    """

    done: int
    total: int
    started: float
    last_sign: float
    has_lock: bool

    @property
    def seconds_left(self):
        """Estimate from the pace so far; None before the first job is done."""
        if not self.done:
            return None
        pace = (self.last_sign - self.started) / self.done
        return pace * (self.total - self.done)


@dataclass(frozen=True)
class Progress:
    """How far the exposures of a survey are; each is counted once.

    Parameters
    ----------
    total
        Number of exposures.
    outcomes
        Counter of statuses of those that are done.
    running
        {ExposureFiles: stage} of those that a job works on.
    queued
        Those that Snakemake has handed to a cluster and that have not begun.
    run
        Run, or None if Snakemake has not run here.
    """

    total: int
    outcomes: Counter
    running: dict
    queued: list
    run: Run | None

    @property
    def failed(self):
        """Number of exposures that could not be done."""
        return sum(self.outcomes.values()) - self.outcomes[OK]

    @property
    def waiting(self):
        """Number of exposures that nothing has happened to, or that lie between two stages."""
        return self.total - sum(self.outcomes.values()) - len(self.running) - len(self.queued)


def progress(results):
    """How far the workflow is.

    Parameters
    ----------
    results
        The folder of results; Snakemake's own files are beside it.

    Returns
    -------
    Progress

    Raises
    ------
    MissingFileError
        If neither results nor a run are there.
    """
    results = Path(results)
    work = results.resolve().parent
    run = _latest_run(work)
    active = _active(work, results)
    exposures = set(_exposures(results, run)) | set(active)
    running, queued = {}, []
    for exposure, begun in sorted(active.items()):
        stage = _stage_at_work(work, exposure, begun)
        if stage is None:
            queued.append(exposure)
        else:
            running[exposure] = stage
    outcomes = Counter(
        outcome for key, outcome in _outcomes(results).items() if key in exposures - set(active)
    )
    return Progress(len(exposures), outcomes, running, queued, run)


def _exposures(results, run):
    """The exposures of the survey; none while a first run has not come to the overlaps."""
    try:
        return known_exposures(results)
    except MissingFileError:
        if run is None:
            raise
        return []


def _outcomes(results):
    """Status by ExposureFiles; the summary saves opening those that are no newer."""
    summary, known, written = results / SUMMARY, {}, 0.0
    if summary.exists():
        written = summary.stat().st_mtime
        known = read_outcomes(summary)
    found = {}
    folder = results / "status"
    for entry in os.scandir(folder) if folder.is_dir() else ():
        name, suffix = os.path.splitext(entry.name)
        exposure = ExposureFiles.of_id(name, results) if suffix == ".json" else None
        if exposure is None:
            continue
        key = (exposure.visit, exposure.detector, exposure.band)
        if key not in known or entry.stat().st_mtime >= written:
            found[exposure] = _outcome(entry.path)
        else:
            found[exposure] = known[key]
    return found


def _outcome(path):
    try:
        return str(read_json(path)["status"])
    except (CorruptFileError, KeyError, TypeError):
        return UNREADABLE


def _active(work, results):
    """{ExposureFiles: {stage: when Snakemake began or submitted it}} of unfinished jobs."""
    folder = work / ".snakemake" / "incomplete"
    found = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        output = _output_of(path.relative_to(folder))
        if output is None or Path(output).parts[:1] != (results.name,):
            continue
        stage, exposure = _job_of(Path(output), results)
        if exposure is None:
            continue
        try:
            found.setdefault(exposure, {})[stage] = path.stat().st_mtime
        except FileNotFoundError:
            continue  # finished in this moment
    return found


def _output_of(path):
    """The output whose mark a file is; a long name is split into folders that begin with "@"."""
    text = "".join(part.removeprefix("@") for part in path.parts)
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _job_of(output, results):
    """(stage, ExposureFiles) that make an output; None for what is of no exposure's chain."""
    if output.parts[1:2] == ("status",):
        return "calibrate", ExposureFiles.of_id(output.stem, results)
    prefix, _, name = output.stem.partition("_")
    if output.parts[1:2] != ("deepDiff",) or prefix not in _STAGE_OF:
        return None, None
    return _STAGE_OF[prefix], ExposureFiles.of_id(name, results)


def _stage_at_work(work, exposure, begun):
    """The last of an exposure's jobs that has written to its log; None if none has yet."""
    for stage in reversed(STAGES):
        log = work / "logs" / stage / f"{exposure.id}.log"
        if stage in begun and log.exists() and log.stat().st_mtime >= begun[stage]:
            return stage
    return None


def _latest_run(work):
    logs = sorted((work / ".snakemake" / "log").glob("*.snakemake.log"))
    for path in reversed(logs):
        # A dry run, or one with nothing to do, has no job in its log.
        text = _tail(path)
        begun = _TIME.search(_head(path))
        if begun:
            steps = _STEPS.findall(text)
            done, total = steps[-1] if steps else (0, _planned(path))
            return Run(
                done=int(done),
                total=int(total),
                started=_unix_time(begun[1]),
                last_sign=max([path.stat().st_mtime, *_last_logs(work)]),
                has_lock=any((work / ".snakemake" / "locks").glob("*.lock")),
            )
    return None


_ENOUGH = 1 << 16


def _head(path):
    with path.open("rb") as stream:
        return stream.read(_ENOUGH).decode("utf-8", "replace")


def _tail(path):
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _ENOUGH))
        return stream.read().decode("utf-8", "replace")


def _planned(path):
    """Jobs of a run none of which is done, from its table of jobs."""
    match = re.search(r"^total +(\d+)$", _head(path), re.MULTILINE)
    return int(match[1]) if match else 0


def _unix_time(text):
    """Of a time as Snakemake writes it, which is the local time of the machine."""
    return time.mktime(datetime.strptime(text, "%a %b %d %H:%M:%S %Y").timetuple())


def _last_logs(work):
    """When the folders of the stages' logs last got a new file."""
    return [p.stat().st_mtime for p in (work / "logs" / s for s in STAGES) if p.is_dir()]
