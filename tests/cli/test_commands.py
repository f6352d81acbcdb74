"""What `python -m maml` lists can be called, also by its old names."""

import sys

import pytest
from helpers import command, script

from maml.__main__ import COMMANDS, OVERVIEW, main

OLD = ["maml.draw", "maml.table", "maml.demo_data"]


def test_the_overview_is_printed_and_is_its_own_help():
    said = script("-m", "maml").stdout
    assert said == f"{OVERVIEW}\n" and len(COMMANDS) >= 6
    assert OVERVIEW in script("-m", "maml", "--help").stdout
    assert all(f"python -m maml {name}" in said for name in COMMANDS)


def test_an_unknown_command_is_refused_in_a_line():
    said = script("-m", "maml", "trian", status=2).stderr
    assert said.startswith("error: ") and "'trian'" in said and said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_overview_lists_is_there(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["maml", name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    said = capsys.readouterr().out
    assert said.startswith("usage: ") and "--help" in said and name in said.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", OLD)
def test_the_old_names_are_there(name):
    said = script("-m", name, "--help").stdout
    assert name.rpartition(".")[2].removesuffix("_data") in said.splitlines()[0]


def test_a_checkpoint_that_is_missing_is_not_measured(tmp_path):
    said = command("table", "none", "--checkpoints", tmp_path, status=2).stderr
    assert said.startswith(f"error: {tmp_path}/none.pkl: cannot be read") and said.count("\n") == 1
