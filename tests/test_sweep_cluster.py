"""A sweep on a cluster of two nodes on this machine, one of which is killed in its middle."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.sweeps import ROOT, run, start, wait_for_lines, write_models

pytestmark = pytest.mark.slow
SECONDS = 300


@contextmanager
def process(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Within: a process of a cluster, in a session of its own, which is ended with all it started."""
    child = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        kill(child)


def kill(child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def swept_once(table: Path, names: list[str]) -> None:
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == names
    assert {row["decision"] for row in rows} == {"GO"}


def test_dask_loses_a_node_and_no_model(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    models = write_models(tmp_path)
    names = [f"{models}:naps{i}" for i in range(12)]
    where = tmp_path / "scheduler.json"
    worker = ["-m", "distributed.cli.dask_worker", "--scheduler-file", str(where), "--nthreads", "1", "--no-dashboard"]
    with ExitStack() as stack:
        stack.enter_context(
            process(
                "-m",
                "distributed.cli.dask_scheduler",
                "--scheduler-file",
                str(where),
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
            ),
        )
        nodes = [
            stack.enter_context(process(*worker, "--local-directory", str(tmp_path / name))) for name in ("a", "b")
        ]
        wait_for(where.exists, "no scheduler")
        with distributed.Client(scheduler_file=str(where), timeout=SECONDS) as client:
            client.wait_for_workers(2, timeout=SECONDS)
            address = client.scheduler.address
            sweep = start(*names, "--out", str(tmp_path / "zoo.csv"), "--backend", "dask", "--address", address)
            wait_for_lines(tmp_path / "zoo.csv.part", 3)
            kill(nodes[0])
            out, err = sweep.communicate(timeout=SECONDS)
            assert len(client.scheduler_info()["workers"]) == 1
    assert (sweep.returncode, "Traceback" in err) == (0, False), err
    assert out.startswith(f"{tmp_path / 'zoo.csv'}: 12 of 12 estimated.")
    swept_once(tmp_path / "zoo.csv", names)


def test_no_cluster_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    code, out, err = run(
        "resnet18", "--out", str(tmp_path / "x.csv"), "--backend", "dask", "--address", "tcp://127.0.0.1:9",
        DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="2s",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "No Dask scheduler answers" in err


def test_ray_loses_a_node_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for its nodes
    models = write_models(tmp_path)
    names = [f"{models}:naps{i}" for i in range(12)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        arguments = (*names, "--out", str(tmp_path / "zoo.csv"), "--backend", "ray", "--address", cluster.address)
        sweep = start(*arguments)
        wait_for_lines(tmp_path / "zoo.csv.part", 2)
        cluster.remove_node(second, allow_graceful=False)
        out, err = sweep.communicate(timeout=SECONDS)
        if sweep.returncode:  # Ray gives a batch up with its worker; what is finished is kept
            assert "the same command goes on there" in err
            assert "Traceback" not in err
            code, out, err = run(*arguments)
            assert code == 0, err
    finally:
        cluster.shutdown()
    assert out.startswith(f"{tmp_path / 'zoo.csv'}: 12 of 12 estimated.")
    swept_once(tmp_path / "zoo.csv", names)
