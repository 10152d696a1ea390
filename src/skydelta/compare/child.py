"""Jobs in processes of their own, so that CPU time and memory are those of one job alone.

    python -m skydelta.compare.child JOB ANSWER

runs the pickled job JOB and pickles what it gives, or its SkydeltaError, to ANSWER.
"""

import logging
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CRASHED = "crashed"
"""Status of a job that ended otherwise than with a result or a SkydeltaError."""

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Libraries use one thread, as in the workflow's jobs."""


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: status and message of its error."""

    status: str
    message: str


def run_child(job, log, scratch):
    """What a job gives, run in a new process.

    Parameters
    ----------
    job
        PrepareJob or MethodJob.
    log
        Path that the process's log goes to.
    scratch
        Path without suffix, for the pickled job and its answer.

    Returns
    -------
    Prepared, MethodResult or Failure
    """
    question, answer = scratch.with_suffix(".job"), scratch.with_suffix(".answer")
    question.write_bytes(pickle.dumps(job))
    log.parent.mkdir(parents=True, exist_ok=True)
    # -P: the working directory may hold a folder of this package's name.
    command = [sys.executable, "-P", "-m", "skydelta.compare.child", str(question), str(answer)]
    with log.open("w") as stream:
        done = subprocess.run(
            command,
            env={**os.environ, **_ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    question.unlink()
    if done.returncode != 0 or not answer.is_file():
        return Failure(CRASHED, f"{_ending(done.returncode, log)}; see {log}")
    result = pickle.loads(answer.read_bytes())
    answer.unlink()
    return result


def _ending(code, log):
    """How a process ended, in a sentence."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return f"ended by the signal {name}{memory}"
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"ended with an unexpected error: {lines[-1]}" if lines else f"ended with code {code}"


def main(arguments):
    """Run one job; the exit status."""
    from skydelta.compare.method import MethodJob, run_method
    from skydelta.compare.prepare import prepare
    from skydelta.errors import SkydeltaError
    from skydelta.stage import keep_freed_memory

    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    question, answer = map(Path, arguments)
    job = pickle.loads(question.read_bytes())
    try:
        result = run_method(job) if isinstance(job, MethodJob) else prepare(job)
    except SkydeltaError as error:
        logging.getLogger(__name__).error("%s: %s", error.status, error)
        result = Failure(error.status, " ".join(str(error).split()))
    partial = answer.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(result))
    partial.replace(answer)
    return 0


if __name__ == "__main__":
    # Pickles name the module by which its classes are known to the parent.
    from skydelta.compare import child

    sys.exit(child.main(sys.argv[1:]))
