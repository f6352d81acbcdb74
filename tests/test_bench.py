"""benchmarks/bench.py: what it makes of measurements, and steps of it on tiny tasks."""

import argparse
import json
import subprocess
import sys

import pytest
from helpers import run_main

from maml.config import Config
from maml.system import device, launch
from maml.system.errors import UserError

bench = pytest.importorskip("benchmarks.bench", reason="benchmarks/ is beside tests/")


@pytest.fixture
def row(monkeypatch):
    """The row of a step that takes us 2 seconds and PyTorch 4, while others keep cores busy."""

    def run(command):
        return {"seconds": 4.0 if command[0] == "torch" else 2.0, "memory": 2.0**30, "rate": 1e12}

    def make(busy, torch="torch"):
        loads = iter(busy)
        monkeypatch.setattr(bench, "run", run)
        monkeypatch.setattr(bench, "busy", lambda: next(loads))
        arguments = argparse.Namespace(torch=torch, rounds=len(busy) - 1, repeats=1)
        config = Config(**bench.SETTINGS["protonet_60w5s"])
        return bench.compare("protonet_60w5s", config, arguments).split(" | ")

    return make


def test_the_ratio_is_ours_over_theirs(row):
    found = row([0.0, 0.05])
    assert found[1:4] == ["2.000", "0.5", "1.00"] and found[-2:] == ["4.000 (eager)", "0.50 |"]
    assert len(row([0.0, 0.0], torch=None)) == len(found) - 2


def test_the_peer_is_the_fastest_form_of_pytorch_here(monkeypatch):
    """Which torch.compile is for some steps, where there is a compiler."""
    monkeypatch.setattr(bench.shutil, "which", lambda name: f"/usr/bin/{name}")
    for name, form in (("fomaml_5w1s", "compile"), ("protonet_60w5s", "eager")):
        arguments = bench.peer_arguments(name, Config(**bench.SETTINGS[name]), 1)
        assert arguments[arguments.index("--form") + 1] == form
    monkeypatch.setattr(bench.shutil, "which", lambda name: None)
    assert {bench.peer_form(name) for name in bench.SETTINGS} == {"eager"}


def test_the_benchmark_leaves_the_threads_to_its_processes():
    """Importing PaddlePaddle sets OMP_NUM_THREADS, which processes would inherit."""
    code = "import sys, benchmarks.bench; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=bench.ROOT).returncode == 0


def test_operations_of_a_step_are_counted():
    """Koch's network: 10x10, 7x7 and 4x4 convolutions of 96, 42, 18 and 6 pixels a side."""
    layers = [96**2 * 100 * 64, 42**2 * 49 * 64 * 128, 18**2 * 16 * 128**2, 36 * 16 * 128 * 256]
    forward = 2 * (sum(layers) + 9216 * 4096)
    found = bench.flops("siamese_koch", Config(**bench.SETTINGS["siamese_koch"]))
    assert found == 32 * (3 * forward - 2 * layers[0])
    strided = 2 * 9 * 64 * (14**2 + 64 * (7**2 + 4**2 + 2**2))  # the first layer has one channel
    gradient = 3 * strided - 2 * 9 * 64 * 14**2
    found = bench.flops("fomaml_5w1s", Config(**bench.SETTINGS["fomaml_5w1s"]))
    assert found == 32 * (5 * 5 + 75) * gradient


@pytest.mark.parametrize("busy", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
def test_there_is_no_ratio_on_a_loaded_machine(row, busy):
    assert row(busy)[-1] == "none: 1.0 cores were busy |"


def test_a_core_that_works_is_busy(monkeypatch, tmp_path):
    """Of two cores, one has been idle for a second, the other one for none of it."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(bench, "Path", lambda path: stat)
    monkeypatch.setattr(bench.os, "sched_getaffinity", lambda process: {0, 2})
    monkeypatch.setattr(launch, "cores", lambda: 2)
    clock = iter([0.0, 1.0])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))

    def write(idle):
        stat.write_text(
            f"cpu  9 9 9 9 9\ncpu0 1 0 0 {idle} 0 0\ncpu1 0 0 0 0 0 0\ncpu2 5 0 0 7 0 0\n"
        )

    write(20)
    ticks = bench.os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(bench.time, "sleep", lambda seconds: write(20 + ticks))
    assert bench.busy() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["protonet_60w5s", "protonet_5w1s_colour", "evaluate_5w1s"])
def test_a_step_is_measured(name, monkeypatch, capsys):
    monkeypatch.setenv(launch.LAUNCHED, "1")
    monkeypatch.setattr(device, "end_with_parent", lambda: None)
    monkeypatch.setattr(bench, "MATRIX", 64)
    tiny = {"way": 2, "shot": 1, "query": 1, "meta_batch_size": 1, "filters": 4}
    steps = {"inner_steps_test": 1} if name.startswith("evaluate") else {}
    bench.work(name, Config(**{**bench.SETTINGS[name], **tiny, **steps}), repeats=1)
    measured = json.loads(capsys.readouterr().out)
    assert measured.keys() == {"seconds", "cpu", "memory", "rate"} and min(measured.values()) > 0


def test_the_json_of_a_command_is_its_last_line():
    assert bench.run([sys.executable, "-c", "print('so'); print('{\"a\": 1}')"]) == {"a": 1}
    with pytest.raises(UserError, match="failed: too hot"):
        bench.run([sys.executable, "-c", "raise SystemExit('too hot')"])


@pytest.mark.slow
def test_it_prints_a_row_for_a_step(monkeypatch):
    """The process that it starts for the step is played by this one."""

    def run(command):
        python, path, *arguments = command
        assert (python, path) == (sys.executable, bench.__file__)
        return json.loads(run_main(bench, *arguments).stdout.splitlines()[-1])

    monkeypatch.setenv(launch.LAUNCHED, "1")
    monkeypatch.setattr(device, "end_with_parent", lambda: None)
    for name, value in {"run": run, "busy": lambda: 0.0, "MATRIX": 64, "BURN_IN": 0}.items():
        monkeypatch.setattr(bench, name, value)
    said = run_main(bench, "--only", "reptile_5w5s", "--rounds", 1, "--repeats", 1).stdout
    table = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("|")]
    header, _, row = table
    assert len(row) == len(header) and row[0] == "reptile_5w5s"
    seconds, *others = (float(cell.rstrip("%")) for cell in row[1:])
    assert seconds > 0 and all(number > 0 for number in others)
