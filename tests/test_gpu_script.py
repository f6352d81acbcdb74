"""benchmarks/gpu.py, without a GPU: its trial on the CPU, and what it makes of other numbers."""

import json

import pytest
from helpers import run_main, script

from maml.system import device
from maml.system.errors import UserError

gpu = pytest.importorskip("benchmarks.gpu", reason="benchmarks/ is beside tests/")


def test_losses_are_compared_and_a_failed_run_agrees_with_none():
    one, other = {"losses": [1.0, 2.0]}, {"losses": [1.0, 2.5]}
    assert gpu.difference(one, one) == 0 and gpu.difference(one, other) == pytest.approx(0.2)
    assert gpu.difference({"failed": "out of memory"}, one) is None


def test_a_run_that_disagrees_or_fails_is_reported(monkeypatch, capsys):
    def run(method, steps, on_gpu, workers):
        if workers == 2:
            return {"failed": "NCCL"}
        return {"losses": [1.0 + 0.1 * (on_gpu and method == "maml")], "seconds a step": 1}

    monkeypatch.setattr(gpu, "run", run)
    found = gpu.report(["maml", "protonet"], 1, 1)["methods"]
    assert not found["maml"]["agree"] and found["protonet"]["agree"]
    two = gpu.report(["protonet"], 1, 2)["methods"]["protonet"]
    assert not two["agree"] and two["largest difference"] == [0, None]
    assert "maml: DIFFERS" in capsys.readouterr().out


@pytest.mark.slow
def test_a_trial_on_the_cpu_writes_one_report(tmp_path):
    flags = ["--cpu", "--steps", 1, "--methods", "siamese", "--no-tests"]
    out = tmp_path / "gpu.json"
    said = script("benchmarks/gpu.py", *flags, "--out", out).stdout
    (measured,) = json.loads(out.read_text())["methods"].values()
    assert measured["agree"] and measured["on the device"][0]["device"] == "cpu"
    assert f"written: {out}" in said


def test_without_a_gpu_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: 0)
    with pytest.raises(UserError, match="finds no GPU; install its GPU build .*, or add --cpu"):
        run_main(gpu)
