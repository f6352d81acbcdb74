"""What `python -m maml` lists can be called, and so can the benchmark."""

import re

import pytest
from helpers import ROOT, script

from maml.__main__ import OVERVIEW

COMMANDS = [line.split("  ")[0].split() for line in OVERVIEW.splitlines()]


def test_the_overview_is_printed_and_is_its_own_help():
    said = script("-m", "maml").stdout
    assert said == OVERVIEW and len(COMMANDS) >= 7
    assert script("-m", "maml", "--help").stdout.endswith(said)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_the_overview_lists_is_there(command):
    if command[0] == "python":
        said = script(*command[1:]).stdout
        name = command[1]
        if name == "-m":  # which argparse of newer Pythons says as it was called
            name = f"(python[0-9.]* -m {command[2]}|{command[2].rpartition('.')[2]}.py)"
        assert re.match(f"usage: {name} ", said) and "--help" in said
    else:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(f"^{command[1]}:", makefile, re.MULTILINE)


def test_a_checkpoint_that_is_missing_is_not_measured(tmp_path):
    said = script("-m", "maml.table", "none", "--checkpoints", tmp_path, status=2).stderr
    assert said.startswith(f"error: {tmp_path}/none.pkl: cannot be read") and said.count("\n") == 1


def test_the_benchmark_prints_a_row_for_a_step():
    once = ["--rounds", 1, "--repeats", 1]
    said = script("benchmarks/bench.py", "--only", "reptile_5w5s", *once).stdout
    table = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("|")]
    header, _, row = table
    assert len(row) == len(header) and row[0] == "reptile_5w5s"
    seconds, *others = (float(cell.rstrip("%")) for cell in row[1:])
    assert seconds > 0 and all(number > 0 for number in others)
