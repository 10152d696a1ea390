"""The commands that look after a folder of results: verify, status, retry."""

import time
from collections import Counter
from datetime import datetime

from skydelta.io.outcome import OK
from skydelta.upkeep.progress import progress
from skydelta.upkeep.redo import (
    delete,
    failed_exposures,
    of_failure,
    refuse_while_running,
)
from skydelta.upkeep.summary import reasons
from skydelta.upkeep.verify import verify

GOOD, FAILED, UNFINISHED = 0, 1, 3
"""Exit statuses; 2 is argparse's."""

_SILENT = 600.0
"""Seconds without a sign of life after which a locked run is doubted."""


def run_verify(results, *, data=True, deleting=False):
    """Print what is wrong with a folder of results; delete what has to be made again if asked to.

    Returns
    -------
    int
        GOOD, or FAILED if anything is wrong and was not deleted.
    """
    if deleting:
        refuse_while_running(results)
    begun = time.perf_counter()
    verdict = verify(results, data=data)
    seconds = time.perf_counter() - begun
    for problem in verdict.problems:
        print(f"{problem.path}: {problem.what}")
    how = f"{verdict.files} files, {verdict.size / 1e9:.2f} GB, {seconds:.1f} s"
    print(f"{verdict.exposures} exposures, {how}: {len(verdict.problems)} problems")
    if verdict.without_sums:
        print(f"note: {verdict.without_sums} FITS files carry no sums: their length alone is known")
    if verdict.is_good:
        return GOOD
    doomed = {path for problem in verdict.problems for path in problem.doomed()}
    if not deleting:
        print(
            f"to cure it: `skydelta verify --delete {results}` deletes {len(doomed)} files, "
            "damaged or made from such; `snakemake` with the options of the run makes them again"
        )
        return FAILED
    print(f"deleted {len(delete(doomed))} files; start `snakemake` again to make them")
    return GOOD


def run_status(results, *, watch=None, listing=False):
    """Print how far a run is; again every `watch` seconds until it is over.

    Returns
    -------
    int
        GOOD if every exposure is ok, FAILED if some failed, UNFINISHED if none failed yet.
    """
    while True:
        state = progress(results)
        print("\n".join(described(state, time.time())), flush=True)
        over = state.run is None or not state.run.has_lock
        if watch is None or over:
            break
        time.sleep(watch)
        print()
    if listing:
        _list_failures(results)
    if state.failed:
        return FAILED
    return GOOD if state.outcomes[OK] == state.total else UNFINISHED


def described(state, now):
    """Lines that tell a Progress.

    Parameters
    ----------
    state
        skydelta.upkeep.progress.Progress.
    now
        Unix time, s.
    """
    lines = [f"{state.total} exposures" if state.total else "exposures: not known yet"]
    stages = Counter(state.running.values())
    at_work = ", ".join(f"{stage} {n}" for stage, n in stages.items())
    for name, number, detail in (
        ("ok", state.outcomes[OK], ""),
        ("failed", state.failed, reasons(state.outcomes)),
        ("running", len(state.running), at_work),
        ("queued", len(state.queued), ""),
        ("waiting", state.waiting, ""),
    ):
        if number or name in ("ok", "failed"):
            lines.append(f"  {name:<8}{number:>8}  {detail}".rstrip())
    if state.run is not None:
        lines += _run_lines(state.run, now)
    return lines


def _run_lines(run, now):
    begun = datetime.fromtimestamp(run.started).isoformat(sep=" ", timespec="seconds")
    line = f"run of {begun}: {run.done} of {run.total} jobs in {_span(run.last_sign - run.started)}"
    silent = now - run.last_sign
    if not run.has_lock:
        ending = "over" if run.done == run.total else "ended early: see its log, start it again"
        return [f"{line}, {ending}"]
    if run.seconds_left is not None:
        line += f", about {_span(run.seconds_left)} left"
    if silent <= _SILENT:
        return [line]
    doubt = (
        f"no sign of life for {_span(silent)}: if snakemake is gone, `snakemake --unlock` and "
        "start it again with --rerun-incomplete"
    )
    return [line, doubt]


def _span(seconds):
    """A time span in words."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _list_failures(results):
    for exposure, status in failed_exposures(results):
        print(f"{exposure.id}: {status['status']} ({status.get('stage')}): {status.get('message')}")


def run_retry(results, wanted=(), *, dry=False):
    """Delete the products of failed exposures from the stage that failed on.

    Parameters
    ----------
    results
        The folder of results.
    wanted
        Only failures of these statuses; all by default.
    dry
        Whether to print only.

    Returns
    -------
    int
        GOOD.
    """
    refuse_while_running(results)
    failed = failed_exposures(results, wanted)
    for exposure, status in failed:
        print(f"{exposure.id}: {status['status']}: {status.get('message')}")
    paths = [path for each in failed for path in of_failure(*each)]
    if dry:
        print(f"{len(failed)} exposures would be tried again, {len(paths)} files deleted")
        return GOOD
    number = len(delete(paths))
    print(f"{len(failed)} exposures to try again ({number} files deleted): start `snakemake` again")
    return GOOD
