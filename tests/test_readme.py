"""The READMEs: every command in them runs, both show the same ones, and their table is what the
stored results say.
"""

import hashlib
import json
import re
import shlex
import shutil

import pytest
from helpers import ROOT, script
from PIL import Image

from maml.config import make, read_yaml
from maml.data import stand_in
from maml.reports import table
from maml.system import safe_pickle
from maml.training import names

READMES = [ROOT / name for name in table.READMES]
SHORT = {
    "train.py": [
        "--meta_iterations",
        2,
        "--meta_batch_size",
        2,
        "--val_tasks",
        2,
        "--val_every",
        2,
        "--print_every",
        2,
        "--query",
        2,
        "--train_query",
        2,
        "--inner_steps",
        1,
        "--inner_steps_test",
        1,
        "--distortions",
        0,
        "--workers",
        1,
    ],
    "evaluate.py": ["--tasks", 2, "--workers", 1],
    "examples/sine.py": ["--steps", 2],
}
PAIRS = ["--train_way", 20, "--train_query", 1]


def commands(path):
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [line.partition("    #")[0].strip() for block in blocks for line in block.splitlines()]


def test_both_show_the_same_commands():
    assert commands(READMES[0]) == commands(READMES[1]) and len(commands(READMES[0])) > 15


def test_both_have_the_same_sections_and_name_files_that_exist():
    levels = [
        re.findall(r"^#+", path.read_text(encoding="utf-8"), re.MULTILINE) for path in READMES
    ]
    assert levels[0] == levels[1]
    for path in [*READMES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.name)
def test_the_table_is_what_the_stored_results_say(path):
    assert path.read_text(encoding="utf-8") == table.rewrite(path, ROOT / "checkpoints")


def test_every_checkpoint_has_its_results_and_configuration():
    for path in (ROOT / "checkpoints").glob("*.pkl"):
        results = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert results["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest(), (
            f"{path.name} is not the file that was measured"
        )
        assert results["results"] or path.stem in table.STAGES, f"{path.name} was not measured"
        stated = ROOT / "configs" / f"{path.stem}.yaml"
        config = make(read_yaml(stated), str(stated))
        different = names.differences(config, safe_pickle.load(path))
        if config.algorithm in (
            "maml",
            "reptile",
        ):  # which know no distance, whose default was another once
            different = [d for d in different if not d.startswith("distance ")]
        assert different == [], f"{path.name} is of another configuration"
        assert path.stat().st_size < 2 << 20


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder like the project's root after the data were put in place, with short runs of all
    methods that the commands evaluate.
    """
    folder = tmp_path_factory.mktemp("workplace")
    for path in ROOT.iterdir():
        if (
            path.suffix == ".py"
            or path.name in ("maml", "configs", "examples", "Makefile")
            or path.name.startswith("requirements")
        ):
            (folder / path.name).symlink_to(path)
    stand_in.write(folder / "data" / "omniglot", alphabets=10, characters=10)
    script("make_data.py", cwd=folder)
    lists = folder / "data" / "omniglot" / "splits" / "vinyals"
    lists.mkdir(parents=True)
    names = sorted(
        f"{path.parent.name}/{path.name}"
        for path in (folder / "data" / "omniglot").rglob("character*")
    )
    for part, chosen in (("train", names[:60]), ("val", names[60:80]), ("test", names[80:])):
        (lists / f"{part}.txt").write_text("\n".join(f"{name}/rot090" for name in chosen))
    drawings = sorted((folder / "data" / "omniglot").rglob("*.png"))[::20]
    for k, path in enumerate(drawings[:3]):
        (folder / "mine" / str(k)).mkdir(parents=True)
        shutil.copy(path, folder / "mine" / str(k))
    with Image.open(drawings[0]) as image:
        image.convert("L").save(folder / "unknown.jpg")
    for name, *flags in (
        ["maml_5w1s"],
        ["protonet_60w1s", "--train_way", 20],
        ["siamese_triplets", *PAIRS],
    ):
        script(
            "train.py", "--config", f"configs/{name}.yaml", *SHORT["train.py"], *flags, cwd=folder
        )
    script("train.py", "--way", 5, "--shot", 1, *SHORT["train.py"], cwd=folder)  # to be resumed
    return folder


def unique(lines):
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize(
    "command",
    [c for c in unique(commands(READMES[0])) if c.startswith("python ") and " -m " not in c],
)
def test_python_commands_run(workplace, command):
    _, name, *flags = shlex.split(command)
    short = list(SHORT.get(name, []))
    if "protonet" in command and name == "train.py":
        short += ["--train_way", 20]
    if "siamese" in command and name == "train.py":
        short += PAIRS
    assert script(name, *flags, *short, cwd=workplace).returncode == 0


@pytest.mark.parametrize(
    "command", [c for c in unique(commands(READMES[0])) if not c.startswith("python ")]
)
def test_other_commands_name_what_is_there(command):
    first, *rest = shlex.split(command)
    if first == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif first == "pip":
        assert (ROOT / rest[-1]).exists()
    else:
        assert first == "visualdl"
