"""CPU time and memory of this process and of the programs it starts."""

import resource
import sys
from contextlib import contextmanager
from pathlib import Path


class Meter:
    """CPU seconds by step.

    `step` is the name of the step under way, or of the one that failed.
    """

    def __init__(self):
        self.seconds = {}
        self.step = ""

    @contextmanager
    def measuring(self, step):
        """Add what is spent inside to a step; nothing is added if it fails."""
        self.step = step
        start = cpu_seconds()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + cpu_seconds() - start
        self.step = ""


def cpu_seconds():
    """User and system time of this process and of its ended children."""
    usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def peak_megabytes():
    """Largest resident memory so far of this process or of any child, whichever is larger, MB.

    Linux counts the memory of a parent against a child that it starts, so that the process's own
    figure is taken from /proc where there is one.
    """
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return max(_own_peak(unit), child) / 1e6


def _own_peak(unit):
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024.0 * float(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
