"""Jobs that an earlier run has left behind, told by a stand-in for Slurm's commands."""

import os

import pytest

from skydelta.cli import main
from skydelta.errors import RunningJobsError, SlurmError
from skydelta.slurm_jobs import (
    SlurmJob,
    cancel,
    left_behind,
    refuse_running,
    run_names,
    wait,
)

NAME = "skydelta_2e4495ce-45db-498e-92f3-837a2c391fc1"
OTHER = "5a0395c9-568d-5508-88ba-f011c23fd9bc"

SQUEUE = """#!/bin/sh
echo "$*" >> {folder}/asked
while read -r line; do echo "$line"; done < {folder}/queue
"""

SCANCEL = """#!/bin/sh
echo "$*" >> {folder}/cancelled
: > {folder}/queue
"""


@pytest.fixture
def directory(tmp_path):
    """A working directory with logs of a local run and of two on Slurm."""
    logs = tmp_path / "work" / ".snakemake" / "log"
    logs.mkdir(parents=True)
    (logs / "2026-11-01T000000.1.snakemake.log").write_text("Building DAG of jobs...\n" * 100)
    for day, name in ((2, OTHER), (3, NAME)):
        text = f"Building DAG of jobs...\nSLURM run ID: {name}\nUsing shell: /usr/bin/bash\n"
        (logs / f"2026-11-0{day}T000000.1.snakemake.log").write_text(text)
    return tmp_path / "work"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Commands that answer with what is written into the file returned."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (commands / name).write_text(text.format(folder=tmp_path))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    (tmp_path / "queue").write_text("")
    return tmp_path / "queue"


LINES = f"12|RUNNING|{NAME}|rule_exposure\n13|PENDING|{NAME}|rule_x_wildcards_a|b\n"
JOBS = [
    SlurmJob("12", "RUNNING", NAME, "rule_exposure"),
    SlurmJob("13", "PENDING", NAME, "rule_x_wildcards_a|b"),
]


def test_logs_tell_the_runs(directory):
    assert run_names(directory) == [OTHER, NAME]
    assert run_names(directory / "nothing") == []


def test_jobs_are_asked_for_by_the_names_of_all_runs(directory, queue):
    queue.write_text(LINES)
    assert left_behind(directory) == JOBS
    asked = queue.with_name("asked").read_text()
    assert asked == f"--noheader --name {OTHER},{NAME} --format %i|%T|%j|%k\n"


def test_local_runs_ask_nobody(tmp_path, queue):
    queue.write_text(LINES)
    refuse_running(tmp_path)
    assert not queue.with_name("asked").exists()


def test_refusal_says_which_jobs_and_what_to_do(directory, queue):
    refuse_running(directory)
    queue.write_text("".join(f"{i}|RUNNING|{NAME}|rule_exposure\n" for i in range(14)))
    with pytest.raises(RunningJobsError) as caught:
        refuse_running(directory)
    message = str(caught.value)
    assert f"14 Slurm jobs of an earlier run still work in {directory}:" in message
    assert "  9 RUNNING rule_exposure\n  and 4 more\n" in message
    assert "skydelta slurm-jobs --wait" in message
    assert "skydelta slurm-jobs --cancel" in message


def test_wait_looks_until_none_is_left(directory, queue):
    queue.write_text(LINES)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            queue.write_text("")

    wait(directory, every=7.0, sleep=sleep)
    assert looks == [7.0] * 3


def test_cancel_ends_each_run_once(directory, queue):
    queue.write_text(LINES)
    assert cancel(directory) == JOBS
    assert queue.with_name("cancelled").read_text() == f"--name {NAME}\n"
    assert cancel(directory) == []


def test_command_lists_and_cancels(directory, queue, capsys):
    queue.write_text(LINES)
    assert main(["slurm-jobs", str(directory)]) == 0
    assert capsys.readouterr().out == "12 RUNNING rule_exposure\n13 PENDING rule_x_wildcards_a|b\n"
    assert main(["slurm-jobs", "--cancel", str(directory)]) == 0
    assert queue.read_text() == ""


def test_a_queue_that_does_not_answer_is_no_empty_queue(directory, queue):
    squeue = queue.with_name("bin") / "squeue"
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(SlurmError, match="squeue fails: Unable to contact slurm controller"):
        refuse_running(directory)


def test_without_slurm_only_a_warning(directory, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(directory))
    refuse_running(directory)
    assert "no squeue here" in caplog.text
