"""Slurm jobs that an earlier run has left behind in a working directory.

Snakemake's Slurm jobs live on when the process that submitted them dies, and a new run does not
know of them: it would submit the same work again, and two jobs would write the same files. Their
run can be told: Snakemake keeps a log of every run in ``.snakemake/log`` of its working directory,
and the Slurm executor notes there the name that all jobs of the run bear.
"""

import logging
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from skydelta.errors import RunningJobsError, SlurmError

log = logging.getLogger(__name__)

_RUN = re.compile(r"SLURM run ID: ([\w-]+)\s*")
_HEAD_LINES = 5000
"""The name stands among the first lines of a log, which may have millions."""

_FORMAT = "%i|%T|%j|%k"
_NAMES_A_CALL = 100
_SHOWN = 10


@dataclass(frozen=True)
class SlurmJob:
    """One job that waits, runs or is just ending.

    Parameters
    ----------
    id
        Slurm's number of the job.
    state
        Slurm's word for its state: PENDING, RUNNING, COMPLETING ...
    run
        Name of the job, which is the same for all jobs of a run.
    comment
        Rule or group, and wildcards.
    """

    id: str
    state: str
    run: str
    comment: str

    def __str__(self):
        return f"{self.id} {self.state} {self.comment}"


def refuse_running(directory="."):
    """Raise if jobs of an earlier run still work in a directory.

    Parameters
    ----------
    directory
        Working directory of a workflow.

    Raises
    ------
    RunningJobsError
        Names the jobs, and says how to wait for them and how to stop them.
    SlurmError
        If Slurm does not answer.
    """
    jobs = left_behind(directory)
    if not jobs:
        return
    folder = Path(directory).resolve()
    shown = [f"  {job}" for job in jobs[:_SHOWN]]
    if len(jobs) > _SHOWN:
        shown.append(f"  and {len(jobs) - _SHOWN} more")
    msg = "\n".join(
        [
            f"{len(jobs)} Slurm jobs of an earlier run still work in {folder}:",
            *shown,
            "A new run would write the same files. Let them finish with "
            f"`skydelta slurm-jobs --wait {folder}`, or stop them with "
            f"`skydelta slurm-jobs --cancel {folder}`; then start again.",
        ]
    )
    raise RunningJobsError(msg, jobs=jobs)


def left_behind(directory="."):
    """Jobs in Slurm's queue that runs in a directory have submitted, a list of SlurmJob.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    names = run_names(directory)
    if not names:
        return []
    if shutil.which("squeue") is None:
        log.warning(
            "%s has been worked on by Slurm jobs, but there is no squeue here to tell whether "
            "some still run: look on the cluster",
            Path(directory).resolve(),
        )
        return []
    calls = [names[i : i + _NAMES_A_CALL] for i in range(0, len(names), _NAMES_A_CALL)]
    return [job for some in calls for job in _queued(some)]


def run_names(directory="."):
    """Names of the Slurm runs that Snakemake's logs in a directory tell of, oldest first."""
    logs = (Path(directory) / ".snakemake" / "log").glob("*.snakemake.log")
    names = (_run_name(path) for path in sorted(logs))
    return [name for name in names if name]


def wait(directory=".", *, every=10.0, sleep=time.sleep):
    """Return when no job of an earlier run is left.

    Parameters
    ----------
    directory
        Working directory of a workflow.
    every
        Seconds between two looks at the queue.
    sleep
        What waits for so many seconds.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    while left_behind(directory):
        sleep(every)


def cancel(directory="."):
    """Cancel the jobs of earlier runs; returns them.

    They remove what they have not finished themselves, which takes some seconds: `wait` for it.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    jobs = left_behind(directory)
    for name in sorted({job.run for job in jobs}):
        _slurm("scancel", "--name", name)
    return jobs


def _run_name(path):
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in islice(lines, _HEAD_LINES):
            match = _RUN.fullmatch(line)
            if match:
                return match[1]
    return None


def _queued(names):
    answer = _slurm("squeue", "--noheader", "--name", ",".join(names), "--format", _FORMAT)
    return [SlurmJob(*line.split("|", 3)) for line in answer.splitlines()]


def _slurm(*command):
    """Output of a command of Slurm's."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{command[0]}: {error}: start on a machine where Slurm's commands work"
        raise SlurmError(msg) from error
    if done.returncode != 0:
        msg = f"{command[0]} fails: {done.stderr.strip()}: start again when Slurm answers"
        raise SlurmError(msg)
    return done.stdout
