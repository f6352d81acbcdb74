"""README, its Chinese twin and docs/: their commands and Python blocks run, twins agree, links lead
somewhere, and generated tables are what the stored results and `Config` say.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import shlex
import shutil

import pytest
from helpers import ROOT, command, run_main, script, write_runs
from PIL import Image

from maml.classifier import judged
from maml.config import ALIASES, FIELDS, GRADIENT, make, read_yaml
from maml.data import stand_in
from maml.data.raw import find_characters
from maml.reports import results, settings, table
from maml.system import device
from maml.training import checkpoint, names

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
ENGLISH = [README, *(path for path in DOCS if not path.stem.endswith("_zh"))]
TWINS = [
    (path, twin) for path in ENGLISH if (twin := path.with_name(f"{path.stem}_zh.md")).exists()
]
PAGES = [README, ROOT / "README_zh.md", *DOCS]

SHORT = {
    "train": "--meta_iterations 2 --meta_batch_size 2 --val_tasks 2 --val_every 2 --print_every 2 "
    "--distortions 0 --workers 1",
    "evaluate": "--tasks 2 --workers 1",
    "sine": "--steps 2",
    "reptile_keras": "--meta_iterations 2",
}
SHORT_OF_METHOD = {
    "maml": "--query 2 --train_query 2 --inner_steps 1 --inner_steps_test 1",
    "reptile": "--query 2 --train_query 2 --inner_steps 1 --inner_steps_test 1",
    "protonet": "--query 2 --train_way 20 --train_query 2",
    "matching": "--query 2 --train_way 20 --train_query 2",
    "siamese": "--query 2 --train_way 20 --train_query 1",
}
ENDLESS = [
    "--download",
    "maml draw",
    "maml table",
    "--split maml",
    "distributed.launch",
    "all_runs.zip",
    "protonet_background42",
    "protonet_resnet",
    "maml_resnet.pkl",
    "--schedule_from",
    "-m venv",
    "examples/fonts.py",
    "examples/digits.py",
]
"""commands that need the network, a browser, real Omniglot, other packages or machines, or that
write here"""
DOORS = {"make_data.py": "data", "train.py": "train", "evaluate.py": "evaluate"}
"""scripts, and the modules of maml.cli whose main they call"""
ELSEWHERE = {"apt-get", "git", "cd", "flask", "source", "visualdl"}


def blocks(path, language):
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def without_comment(line):
    return re.sub(r"\s{2,}#.*", "", line).strip()


def commands(path):
    """The lines of the bash blocks, without comments."""
    return [without_comment(line) for block in blocks(path, "bash") for line in block.splitlines()]


def every(kind):
    """The commands of all English pages that start with `python`, or the others."""
    found = dict.fromkeys(c for path in ENGLISH for c in commands(path) if c)
    return [c for c in found if c.startswith("python ") == (kind == "python")]


# ---------------------------------------------------------------- form


def test_the_readme_is_short():
    text = README.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 200 and len(text.split()) <= 1900
    assert lines.index("## Quick start") < 60
    assert len((ROOT / "README_zh.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins[0].name)
def test_twins_agree(twins):
    texts = [path.read_text(encoding="utf-8") for path in twins]
    for pattern in (
        r"^#+ ",  # headings by level
        r"^```\w*$",  # code blocks by language
        r"^\|(?=.*\|$)",  # lines of tables
        r"(?:src=\"|!\[[^]]*\]\()([^)\"]+)",  # pictures
        r"^<!-- .* -->$",
    ):
        first, second = (re.findall(pattern, text, re.MULTILINE) for text in texts)
        assert first == second, pattern
    assert commands(twins[0]) == commands(twins[1])
    code = [
        [without_comment(x) for b in blocks(p, "python") for x in b.splitlines()] for p in twins
    ]
    assert code[0] == code[1]


def test_students_find_their_language():
    assert {path.name for path, _ in TWINS} >= {"README.md", "results.md", "data.md", "faq.md"}


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!http)([^)]+)\)|src=\"([^\"]+)\"", text)
    for target in ("".join(pair) for pair in targets):
        name, _, part = target.partition("#")
        place = path.parent / name if name else path
        assert place.exists(), f"{path.name} links to {target}"
        if part:
            headings = re.findall(r"^#+ (.*)", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in map(anchor, headings), f"{path.name} links to {target}"


# ---------------------------------------------------------------- generated tables


@pytest.mark.parametrize("name", table.DOCUMENTS)
def test_the_tables_are_what_the_stored_results_say(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == table.rewrite(ROOT / name, ROOT / "checkpoints")
    expected = [*table.TABLES] if name.startswith("docs") else [table.SHORT]
    assert [part for part in [*table.TABLES, table.SHORT] if table.markers(part)[0] in text] == (
        expected
    )


def test_the_short_table_has_at_most_twelve_rows_with_narrow_intervals():
    rows = table.build_short_rows(ROOT / "checkpoints")
    assert 0 < len(rows) <= 12
    reports = dict(table.read_reports(ROOT / "checkpoints"))
    for row in rows:
        used = re.findall(r"\[(\w+)\]", row["weights"])
        for result in (r for name in used for r in reports[name]["results"]):
            accuracy = f"{100 * result['accuracy']:.2f}"
            task = row.get((result["way"], result["shot"]), "")
            if result["kind"] == "" and task.startswith(accuracy) and result["bn"] == row["bn"]:
                few = "tempered" in row["weights"] and task == row[20, 5]
                tasks = 5_000 if few else 10_000  # README says so
                assert result["interval"] < 0.00105 and result["tasks"] >= tasks


def test_the_settings_are_what_config_declares():
    text = (ROOT / settings.DOCUMENT).read_text(encoding="utf-8")
    assert text == table.replace_part(text, settings.MARKER, settings.format_settings())
    assert all(f"| `{name}` |" in text for name in FIELDS)
    assert all(f"| `{FIELDS[name].name}` | `{alias}` |" in text for alias, name in ALIASES.items())


def test_every_checkpoint_has_its_results_and_configuration():
    for path in (ROOT / "checkpoints").glob("*.pkl"):
        stored = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert stored["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest(), (
            f"{path.name} is not the file that was measured"
        )
        assert stored["results"] or path.stem in results.STAGES, f"{path.name} was not measured"
        stated = ROOT / "configs" / f"{path.stem}.yaml"
        config = make({"name": path.stem, **read_yaml(stated)}, str(stated))
        different = names.differences(config, checkpoint.read(path).config)
        assert different == [], f"{path.name} is of another configuration"
        assert path.stat().st_size < 2 << 20


def test_the_errors_that_the_faq_explains_exist():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "maml").rglob("*.py"))
    source = re.sub(r"\"\s*\n\s*f?\"", "", source)  # texts over several lines
    for path in (ROOT / "docs" / "faq.md", ROOT / "docs" / "faq_zh.md"):
        table_of_errors = path.read_text(encoding="utf-8").split("| --- | --- |")[-1]
        messages = re.findall(r"^\| `([^`]+)`", table_of_errors, re.MULTILINE)
        assert len(messages) > 15
        for message in messages:
            windows = [message[n : n + 10] for n in range(len(message) - 9)]
            if message != "Address already in use":  # the operating system's
                assert any(window in source for window in windows), message


# ---------------------------------------------------------------- commands


def method_of(words):
    """The method of a command of train.py."""
    if "--algorithm" in words:
        return words[words.index("--algorithm") + 1]
    if "--config" in words:
        return read_yaml(ROOT / words[words.index("--config") + 1]).get("algorithm", "maml")
    return "maml"


def shortened(command):
    """The arguments of a command, with flags behind them that make it quick."""
    _, *words = shlex.split(command)
    door = words[2] if words[:2] == ["-m", "maml"] else os.path.basename(words[0])[:-3]
    short = SHORT.get(door, "").split()
    if door == "train":
        short += SHORT_OF_METHOD[method_of(words)].split()
        if "--network" not in words:
            short += ["--filters", "8"]
    return [*words, *short]


def write_photos(raw, folder):
    """Write small pictures of six drawings of each character, in classes within groups."""
    for path in sorted(raw.rglob("*_0[1-6].png")):
        place = folder / path.parent.parent.name / f"of {path.parent.name}"
        place.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("L").resize((28, 28)).save(place / path.name)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder like the project's root after the data were put in place, with short runs under the
    names of the weights that the commands evaluate.
    """
    folder = tmp_path_factory.mktemp("workplace")
    for path in ROOT.iterdir():
        if path.suffix == ".py" or path.name in ("maml", "configs", "examples"):
            (folder / path.name).symlink_to(path)
    raw = folder / "data" / "omniglot"
    stand_in.write(raw, alphabets=10, characters=10)
    command("data", "--raw", raw, "--out", folder)
    (folder / "data" / "demo").mkdir()
    for path in folder.glob("omniglot_*"):
        shutil.copy(path, folder / "data" / "demo")
    command("data", "--raw", raw, "--split", "background", "--out", folder / "data/background")
    write_runs(folder / "all_runs", raw, runs=1)
    lists = raw / "splits" / "vinyals"
    lists.mkdir(parents=True)
    rows = [character.name for character in find_characters(raw)]
    for part, chosen in (("train", rows[:60]), ("val", rows[60:80]), ("test", rows[80:])):
        (lists / f"{part}.txt").write_text("\n".join(f"{row}/rot090" for row in chosen))
    drawings = sorted(raw.rglob("*.png"))[::20]
    write_photos(raw, folder / "photos")
    (folder / "data" / "printed").symlink_to(folder / "photos")
    for name, path in zip(("anchor", "boat", "cross"), drawings):
        (folder / "mine" / name).mkdir(parents=True)
        with Image.open(path) as image:
            image.convert("L").save(folder / "mine" / name / "1.jpg")
    shutil.copy(folder / "mine" / "boat" / "1.jpg", folder / "unknown.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("maml_5w1s", "protonet_60w1s", "siamese_triplets"):
            line = f"python train.py --config configs/{name}.yaml --checkpoints checkpoints"
            command("train", *shortened(line)[1:])
        # short runs are as if they had been judged: the corpus is too small for 20-way strangers
        path = folder / "checkpoints" / "protonet_60w1s.pkl"
        judged_there = judged.read_records(ROOT / "checkpoints")[path.stem].judged
        record = judged.record_of(path)._replace(judged=judged_there)
        judged.write_records(path.parent, {path.stem: record})
        command("train", *shortened("python train.py --way 5 --shot 1")[1:])  # to be resumed
    return folder


def run(words, folder):
    """Run the program that these arguments of Python name: a command of the package or an example
    within this process, which is quicker by PaddlePaddle's import.
    """
    if words[0] in DOORS:
        return command(DOORS[words[0]], *words[1:])
    if words[:2] == ["-m", "maml"]:
        return command(*words[2:])
    if words[0].startswith("examples/"):
        return run_main(importlib.import_module(words[0][:-3].replace("/", ".")), *words[1:])
    return script(*words, cwd=folder)


def to_run(path):
    """The Python commands of a page that are run, in their order, but for those of pages before."""
    earlier = {c for page in ENGLISH[: ENGLISH.index(path)] for c in commands(page)}
    found = (c for c in commands(path) if c.startswith("python ") and "tests/crash" not in c)
    return [c for c in found if c not in earlier and not any(part in c for part in ENDLESS)]


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in ENGLISH if to_run(p)], ids=lambda path: path.name)
def test_python_commands_run(workplace, path, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("OMNIGLOT", str(workplace / "data" / "omniglot"))
    monkeypatch.setattr(device, "gpus", lambda: 0)  # which asks in a process of its own
    for line in to_run(path):
        run(shortened(line), workplace)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [c for c in every("python") if any(part in c for part in ENDLESS)],
)
def test_flags_of_commands_that_are_not_run(command):
    if "distributed.launch" in command:
        command = "python " + command[command.index("train.py") :]
    _, *words = shlex.split(command)
    program = words[:3] if words[0] == "-m" else words[:1]
    shown = run([*program, "--help"], ROOT).stdout
    for flag in (word for word in words[len(program) :] if word.startswith("--")):
        assert re.search(rf"{flag}\b", shown), flag


@pytest.mark.parametrize("folder", ["examples", "benchmarks"])
def test_programs_find_the_package_from_any_folder(folder):
    """Without a process for each: they put the root into the path before they import it."""
    programs = {p: p.read_text(encoding="utf-8") for p in (ROOT / folder).glob("*.py")}
    start = {p: re.search(r"^(?:from|import) maml\b", text, re.M) for p, text in programs.items()}
    found = {p: match.start() for p, match in start.items() if match and "__main__" in programs[p]}
    root = r"^(?:ROOT = |sys\.path\.insert\(0, str\()Path\(__file__\)\.resolve\(\)\.parent\.parent"
    for path, place in found.items():
        before = programs[path][:place]
        assert re.search(root, before, re.M) and "\nsys.path.insert(0, str(" in before, path
    assert len(found) >= 5


@pytest.mark.parametrize("command", every("other"))
def test_other_commands_name_what_is_there(command):
    first, *rest = shlex.split(command)
    if first == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif first == "pip":
        assert rest[0] == "install"
        assert "-r" not in rest or (ROOT / rest[-1]).exists()
    else:
        assert first in ELSEWHERE


WITH_PYTHON = [p for p in PAGES if p.name != "notebook.md" and blocks(p, "python")]


@pytest.fixture(scope="module")
def printed():
    """Runs a block of our own pages, and returns its lines; the code of twins is run once."""
    said = {}

    def of(block):
        code = tuple(map(without_comment, block.splitlines()))
        if code not in said:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(block, {"__name__": "__main__"})
            said[code] = out.getvalue().splitlines()
        return said[code]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda p: p.name)
def test_python_blocks_run(workplace, printed, path, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("MAML_CHECKPOINTS", str(ROOT / "checkpoints"))
    for block in blocks(path, "python"):
        stated = re.findall(r"^print.*?\)(?:  # (.*?)(?:, |，|$)|$)", block, re.MULTILINE)
        lines = printed(block)
        assert len(lines) == len(stated)
        assert all(line == text for line, text in zip(lines, stated) if text), lines


def test_methods_of_configurations_are_shortened():
    assert method_of(["--config", "configs/reptile_5w5s.yaml"]) == "reptile"
    assert method_of([]) == "maml" in GRADIENT
