"""The package as a whole: importing it does nothing, what is public is documented, examples run."""

import doctest
import importlib
import inspect
import json
import pkgutil
import tempfile

import pytest
from helpers import ROOT, script

import maml
from maml import data, functional

PUBLIC = [name for name in maml.__all__ if name not in ("data", "functional", "__version__")]
FUNCTIONAL = sorted(
    name
    for name, value in vars(functional).items()
    if not name.startswith("_") and callable(value) and value.__module__.startswith("maml.")
)


def examples_of(value, name):
    """The doctests in a docstring, and in those of a class's own methods."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = inspect.getmodule(value)
    return [test for test in finder.find(value, name, module=module) if test.examples]


EXAMPLES = {
    f"{module.__name__}.{name}": tests
    for module, names in ((maml, PUBLIC), (data, data.__all__), (functional, FUNCTIONAL))
    for name in names
    if (tests := examples_of(getattr(module, name), name))
}

EFFECTS = """
import json, os, signal, sys, threading

def state():
    handlers = {n: str(signal.getsignal(n)) for n in range(1, 32) if n not in (9, 19)}
    return [os.getcwd(), dict(os.environ), handlers, threading.active_count(), sys.path[:]]

before = state()
import maml
dir(maml), maml.__version__, maml.__all__
heavy = ["paddle", "numpy", "PIL", "matplotlib", "visualdl", "yaml", "flask", "tqdm"]
print(json.dumps({"same": state() == before, "heavy": [m for m in heavy if m in sys.modules],
                  "own": [m for m in sys.modules if m.startswith("maml")]}))
maml.UserError
print(json.dumps([m for m in heavy if m in sys.modules]))
"""


def test_importing_the_package_loads_nothing_and_has_no_effect(tmp_path):
    """Neither on signals nor on the folder, the environment, threads or the path."""
    done = script("-c", EFFECTS, cwd=tmp_path, PYTHONPATH=str(ROOT))
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"same": True, "heavy": [], "own": ["maml"]} and second == []
    assert done.stderr == "" and list(tmp_path.iterdir()) == []


COMMANDS = """
import importlib, json, sys
for name in ("data", "train", "evaluate", "draw", "table", "demo"):
    importlib.import_module(f"maml.cli.{name}")
print(json.dumps("paddle" in sys.modules))
"""


def test_help_of_a_command_does_not_wait_for_paddle():
    assert script("-c", COMMANDS, PYTHONPATH=str(ROOT)).stdout == "false\n"


DOORS = [*((maml, name) for name in PUBLIC), *((data, name) for name in data.__all__)]
"""the modules that import lazily, with their public names"""


@pytest.mark.parametrize("module, name", DOORS, ids=[name for _, name in DOORS])
def test_a_public_name_is_there_and_documented(module, name):
    value = getattr(module, name)
    assert name in dir(module) and inspect.getdoc(value)
    assert getattr(module, name) is value  # kept, not made anew


@pytest.mark.parametrize("module", [maml, data], ids=["maml", "data"])
def test_a_name_that_is_not_there(module):
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'Net'"):
        _ = module.Net


def test_star_gives_what_is_public():
    names = {}
    exec("from maml import *", names)
    assert set(maml.__all__) <= names.keys()


@pytest.mark.parametrize("tests", EXAMPLES.values(), ids=EXAMPLES)
def test_examples_run(tests, tmp_path, monkeypatch):
    """In a folder of their own, each with only the names that it imports itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = []
    for test in tests:
        test.globs = {"__name__": "example"}
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("module, name", DOORS, ids=[name for _, name in DOORS])
def test_what_is_public_is_documented_as_paddle_documents(module, name):
    """With an example that the test above runs, and arguments unless it has none to state."""
    text = inspect.getdoc(getattr(module, name))
    assert "Example:" in text and f"{module.__name__}.{name}" in EXAMPLES
    assert "Args:" in text or name in ("Config", "UserError")  # settings have a page of their own


def test_there_are_examples_of_what_users_call_first():
    """So that the test of examples has something to run."""
    first = ["load", "FewShotClassifier", "MAML", "Reptile", "TaskSampler", "Config", "evaluate"]
    assert {f"maml.{name}" for name in first} <= EXAMPLES.keys()
    assert sum(name.startswith("maml.functional.") for name in EXAMPLES) >= 10


def test_every_module_can_be_imported_and_says_what_it_is_for():
    """Each by itself would do: none needs another to have been imported before."""
    for module in pkgutil.walk_packages(maml.__path__, "maml."):
        if not module.name.endswith("__main__"):
            assert importlib.import_module(module.name).__doc__, module.name
