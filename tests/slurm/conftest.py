"""One cluster for all tests here, and Snakemake started on it as a user starts it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import Cluster, why_not

# The house, the tiny survey and its local run are those of the workflow's tests.
from workflow.conftest import (  # noqa: F401
    Run,
    config_file,
    house,
    snakemake,
    tiny_config,
    tiny_run,
)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running Slurm."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Head:
    """A Snakemake that submits jobs, while it runs."""

    def __init__(self, command, directory, **options):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._log = directory.with_name(f"{directory.name}-{time.monotonic_ns()}.out")
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )

    def kill(self):
        """End it without a chance to clean up; its jobs live on."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait(self, *, fails=False, timeout=400):
        """The finished Run; its exit status must be what is expected."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"still running after {timeout} s:\n{self.output}")
        assert (code != 0) == fails, self.output
        return Run(code, self.output, self.directory)

    def wait_for(self, pattern, timeout=200):
        """The first file of the directory that matches, as soon as there is one."""
        end = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < end:
            found = next(self.directory.glob(pattern), None)
            if found is not None:
                return found
            time.sleep(0.2)
        pytest.fail(f"no {pattern}:\n{self.output}")
        return None

    @property
    def output(self):
        return self._log.read_text()


@pytest.fixture(scope="session")
def start(cluster, house):  # noqa: F811
    """Start ``snakemake --profile slurm ARGUMENTS`` from the project's root; a Head."""
    heads = []

    def run(*arguments, directory, first_look=8, **surroundings):
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--nocolor"]
        command += ["--directory", directory]
        command += ["--slurm-init-seconds-before-status-checks", first_look, *arguments]
        env = {k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"}
        env |= cluster.env | {"PYTHONPATH": str(house / "src")} | surroundings
        head = Head([str(word) for word in command], Path(directory), cwd=house, env=env)
        heads.append(head)
        return head

    yield run
    for head in heads:
        head.kill()
