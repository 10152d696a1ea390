"""A real Slurm of several nodes on this machine: munged, slurmctld and slurmd on loopback.

Everything lives in one folder and on free ports, so that clusters of several test runs do not meet
each other, nor a Slurm that the machine belongs to.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

PACKAGES = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun")
SEARCH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
"""Debian keeps the daemons where a user's PATH does not look."""


def why_not():
    """Why no cluster can be started here; empty if one can."""
    missing = [name for name in PACKAGES if shutil.which(name, path=SEARCH) is None]
    if missing:
        return (
            f"no {', '.join(missing)}: apt-get install --no-install-recommends "
            "munge slurmctld slurmd slurm-client"
        )
    if os.geteuid() != 0:
        return "slurmd starts jobs as root only"
    return ""


class Cluster:
    """Slurm with nodes n1, n2 ... of one CPU and 8000 MB each, in a folder of its own.

    The last node is the partition "safe", where no test kills; the others are "main".
    """

    def __init__(self, folder, nodes=4):
        self.folder = Path(folder)
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        self._daemons = {}
        self._conf = self.folder / "slurm.conf"
        self._socket = self.folder / "munge.socket"

    @property
    def env(self):
        """Variables a user of this cluster needs."""
        return {
            "SLURM_CONF": str(self._conf),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self):
        """Start all daemons; returns when every node is idle."""
        for name in ("bin", "log", "state", "spool"):
            (self.folder / name).mkdir()
        self._start_munge()
        self._write_conf(_free_ports(1 + len(self.nodes)))
        self._write_srun()
        self._launch("slurmctld", "slurmctld", "-D", "-f", self._conf)
        _until(lambda: self._ok("scontrol", "ping"), 20, "slurmctld")
        for node in self.nodes:
            self.start_node(node)
        _until(lambda: set(self.idle()) == set(self.nodes), 30, "idle nodes")

    def stop(self):
        """Cancel all jobs and end every process of the cluster."""
        if "slurmctld" in self._daemons:
            self.command("scancel", "--state=PENDING", check=False)
            self.command("scancel", "--state=RUNNING", check=False)
            with contextlib.suppress(TimeoutError):
                _until(lambda: not self.jobs(), 10, "the end of all jobs")
        for node in self.nodes:
            self.kill_node(node)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def start_node(self, node):
        """Start a node's daemon."""
        self._launch(node, "slurmd", "-D", "-N", node, "-f", self._conf)

    def kill_node(self, node):
        """What a power cut does: the node's daemon and all its jobs are gone without a word."""
        # The daemon and those it has made of itself for the jobs all write into its log.
        log = str(self.folder / "log" / f"slurmd-{node}.log")
        doomed = [process for process in psutil.process_iter() if log in _opened(process)]
        for process in list(doomed):
            with contextlib.suppress(psutil.NoSuchProcess):
                doomed += process.children(recursive=True)
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if node in self._daemons:
            self._daemons.pop(node).wait()

    def idle(self):
        """Names of the nodes that are up and empty."""
        return self.command("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()

    def jobs(self, *arguments):
        """Jobs that wait, run or end just now: (id, state, node, name, comment) each."""
        lines = self.command("squeue", "-h", "-o", "%i|%T|%N|%j|%k", *arguments).splitlines()
        return [tuple(line.split("|")) for line in lines]

    def command(self, *words, check=True):
        """Output of a command of Slurm's."""
        env = os.environ | self.env
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def _ok(self, *words):
        env = os.environ | self.env
        return subprocess.run(words, env=env, capture_output=True, check=False).returncode == 0

    def _launch(self, name, program, *arguments):
        with (self.folder / "log" / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                [shutil.which(program, path=SEARCH), *map(str, arguments)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self.env,
                start_new_session=True,
            )

    def _start_munge(self):
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        files = {
            "key-file": key,
            "socket": self._socket,
            "pid-file": self.folder / "munged.pid",
            "log-file": self.folder / "log" / "munged.log",
            "seed-file": self.folder / "munge.seed",
        }
        # --force: the parents of a temporary folder are writable for others, which it objects to.
        options = [f"--{name}={path}" for name, path in files.items()]
        self._launch("munged", "munged", "--force", "--foreground", *options)
        _until(self._socket.exists, 10, "munged")

    def _write_conf(self, ports):
        folder = self.folder
        nodes = "".join(
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} "
            "CPUs=1 RealMemory=8000 State=UNKNOWN\n"
            for name, port in zip(self.nodes, ports[1:], strict=True)
        )
        self._conf.write_text(
            f"""\
ClusterName=skydelta
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={self._socket}
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=1
MinJobAge=600
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
{nodes}PartitionName=main Nodes={",".join(self.nodes[:-1])} Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=safe Nodes={self.nodes[-1]} MaxTime=1-00:00:00 State=UP
"""
        )

    def _write_srun(self):
        """The executor's job step drops SLURM_CONF, which srun needs here: put it back."""
        srun = self.folder / "bin" / "srun"
        real = shutil.which("srun", path=SEARCH)
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self._conf} exec {real} "$@"\n')
        srun.chmod(0o755)


def _opened(process):
    """Paths of a process's open files; none of one that has ended meanwhile."""
    with contextlib.suppress(psutil.Error):
        return {each.path for each in process.open_files()}
    return set()


def _free_ports(number):
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _until(condition, seconds, what):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            msg = f"no {what} within {seconds} s"
            raise TimeoutError(msg)
        time.sleep(0.1)
