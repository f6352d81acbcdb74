"""Where weights are looked for, and which of them serves a task best."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from maml.classifier import candidates
from maml.classifier.candidates import Candidate
from maml.classifier.judged import Judged, judged_of, nearest, read_records
from maml.config import METRIC, OWN_NETWORK
from maml.data.index import Index
from maml.system.errors import UserError
from maml.system.files import is_in_future
from maml.training.checkpoint import Checkpoint

PACKAGE = Path(__file__).resolve().parent.parent
OWN = "own"  # the folder of the user's own runs, in a folder of weights
VARIABLE = "MAML_CHECKPOINTS"


class Choice(NamedTuple):
    """The chosen checkpoint, those among which it was chosen, and files that are none."""

    chosen: Checkpoint
    candidates: list[Candidate]
    passed_over: list[str]
    """why files in these folders are no checkpoints, a sentence for each"""
    judged: Judged | None = None
    """what the chosen one reached on the validation tasks that all were judged on"""

    @property
    def own(self) -> bool:
        """Whether it is of a run of the user's own."""
        return is_own(self.chosen)

    def reason(self) -> str:
        """Why it was chosen, in words."""
        which = "the only weights that serve this task"
        if len(self.candidates) > 1:
            which = (
                "the latest of your own runs" if self.own else "the best on validation characters"
            )
            which += f" among {len(self.candidates)} that serve this task"
        if self.judged is None:
            return which
        way, shot, _, accuracy, *_ = self.judged
        return (
            f"{which}; expected accuracy {100 * accuracy:.1f}%, as in {way}-way {shot}-shot tasks"
        )


def is_own(trained: Checkpoint | Candidate) -> bool:
    """Whether these are weights of a run of the user's own."""
    return trained.path.resolve().parent.name == OWN


def weight_folders() -> list[Path]:
    """Return the folders in which weights are looked for by name, in this order.

    The variable MAML_CHECKPOINTS names one; else they are `checkpoints` here, `checkpoints` beside
    the package, as in a clone, and the weights in the package. The user's own runs, in the folder
    `own` of each, come first.
    """
    if named := os.environ.get(VARIABLE):
        places = [Path(named)]
    else:
        places = [Path("checkpoints"), PACKAGE.parent / "checkpoints", PACKAGE / "weights"]
    folders = [folder for place in places for folder in (place / OWN, place)]
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder.is_dir():
            seen.setdefault(folder.resolve(), folder)
    return list(seen.values())


def weight_file(name: str | Path) -> Path:
    """Return the file of weights that `name` stands for: a path, or a name such as protonet_60w1s.

    Raises:
        UserError: if there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parent == Path("."):
        for folder in weight_folders():
            file = folder / (path.name if path.suffix == ".pkl" else f"{path.name}.pkl")
            if file.is_file():
                return file
        known = sorted({file.stem for folder in weight_folders() for file in folder.glob("*.pkl")})
        names = f"; the names are {', '.join(known)}" if known else f"; set {VARIABLE} to a folder"
        raise UserError(f"{name}: no weights of this name{names}")
    raise UserError(f"{name}: no such file of weights")


def candidates_in(folders: Sequence[str | Path]) -> tuple[list[Candidate], list[str]]:
    """Return all weights in these folders and in the folder `own` of each.

    Beside them are sentences about files that are no checkpoints of this project, or of a newer
    version; such files are passed over.
    """
    every = [*(Path(folder, OWN) for folder in folders), *map(Path, folders)]
    distinct = {folder.resolve(): folder for folder in every}
    searched = [candidates.in_folder(folder) for folder in distinct.values()]
    found = {t.path.resolve(): t for those, _ in searched for t in those}
    return list(found.values()), [reason for _, reasons in searched for reason in reasons]


def has_own_network(trained: Checkpoint | Candidate) -> bool:
    """Whether the weights are of a network in a file of the user's own."""
    return OWN_NETWORK.fullmatch(trained.config.network) is not None


def why_not_judged(trained: Checkpoint) -> str:
    """Return why nobody knows how near the members of classes are, and what to do."""
    if trained.config.train_on_val:
        return (
            "was trained on validation characters too, so that nobody knows how near members are; "
            "take other weights to tell strangers"
        )
    if has_own_network(trained):
        return "has a network of your own, and such weights are not judged; drop reject"
    return (
        "was not judged, so that nobody knows how near members are; judge it by python -m maml "
        f"table --only-judge --checkpoints {trained.path.parent}"
    )


def find(
    folders: Sequence[str | Path],
    way: int,
    shot: float,
    algorithm: str | None = None,
    data: Index | None = None,
    split: str | None = None,
    own_network: bool = False,
    any_shot: bool = False,
) -> Choice:
    """Choose the checkpoint for a task of `way` classes and `shot` support images of each.

    Candidates are of `algorithm` and of the source and split of `data`, where these are given, and
    can tell `way` classes apart. With `own_network` they are of a network in a file of the user's
    own, else of the built-in ones. They are ranked by these rules, in this order:

     1. trained on `split`, or on images of the size of `data`;
     2. of a run of the user's own;
     3. judged for the index of their folder, of these the most accurate on the validation tasks
        nearest to this task, by the lower end of the interval, since MAML is judged on fewer;
     4. validated on exactly this task;
     5. validated on the same number of classes;
     6. not trained on validation characters, where accuracy says nothing of new ones;
     7. validated on at least as many classes;
     8. of the user's own runs the latest, where a time in the future does not count, of others the
        most accurate on validation characters.

    Args:
        folders (Sequence[str | Path]): where weights are looked for.
        way (int): the number of classes.
        shot (float): support images of each, in the mean.
        algorithm (str | None): the method; None for any.
        data (Index | None): the arrays that are measured on.
        split (str | None): the split that is preferred.
        own_network (bool): with a network of the user's own.
        any_shot (bool): take weights of MAML and Reptile for another `shot` too, as one's own
            pictures are as many as there are.

    Raises:
        UserError: if there is no candidate.
    """
    every, passed_over = candidates_in(folders)
    records = {folder: read_records(folder) for folder in {t.path.parent for t in every}}
    judged = {t.path: nearest(judged_of(t.path, records[t.path.parent]), way, shot) for t in every}

    def rank(t: Candidate) -> tuple:
        own, found = is_own(t), judged[t.path]
        return (
            t.split == split if data is None else t.image_size == data.image_size,
            own,
            found.at_least if found and not own else -1,
            (t.config.way, t.config.shot) == (way, shot),
            t.config.way == way,
            not t.config.train_on_val,
            t.config.way >= way,
            (not is_in_future(t.modified), t.modified) if own else t.accuracy,
        )

    def serves(t: Candidate) -> bool:
        flexible = any_shot or t.config.algorithm in METRIC or judged[t.path] is not None
        return (
            algorithm in (None, t.config.algorithm)
            and (data is None or (t.source, t.split) == (data.source, data.split))
            and t.serves(way)
            and has_own_network(t) == own_network
            and (flexible or t.config.shot == shot)
        )

    found = sorted(filter(serves, every), key=rank, reverse=True)
    chosen = candidates.first(found, passed_over)
    if chosen is None:
        raise UserError(_why_none(folders, every, way, shot, algorithm, data))
    whole = list(itertools.dropwhile(lambda t: t.path != chosen.path, found))
    return Choice(chosen, whole, passed_over, judged[chosen.path])


def _why_none(
    folders: Sequence[str | Path],
    every: list[Candidate],
    way: int,
    shot: float,
    algorithm: str | None,
    data: Index | None,
) -> str:
    where = ", ".join(map(str, folders)) or "no folder of weights here"
    missing = [str(folder) for folder in folders if not Path(folder).is_dir()]
    if missing:
        return f"{', '.join(missing)}: no such folder of weights; --checkpoints names one"
    return (
        f"{where}: no checkpoint for way {way} and shot {shot:g}"
        + (f" of {algorithm}" if algorithm else "")
        + (f", trained on the {data.split} split of {data.source} data" if data else "")
        + _advice(every, way, algorithm)
    )


def _advice(every: list[Candidate], way: int, algorithm: str | None) -> str:
    """What to do where no checkpoint serves."""
    largest = [t.config.way for t in every if t.config.algorithm == algorithm]
    if algorithm and algorithm not in METRIC and largest and max(largest) < way:
        metric = ", ".join(METRIC)
        return f"; its weights serve up to {max(largest)} classes, those of {metric} any number"
    return "; train one, or name any by --checkpoint"
