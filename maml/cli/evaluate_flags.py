"""The flags of evaluate.py."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from maml.config import GRADIENT, METHODS, METRIC
from maml.evaluation.options import TestOptions
from maml.system import errors

ABOUT = (
    "Measure a trained few-shot learner on characters that it has never seen, or let it classify "
    "your\nown pictures."
)
EXAMPLE = """examples:
  python evaluate.py --way 5 --shot 1
      the best weights that were validated on 5-way 1-shot; your own runs come first
  python evaluate.py --checkpoint checkpoints/maml_5w1s.pkl --tasks 10000
  python evaluate.py --checkpoint protonet_60w1s maml_20w1s --way 20 --shot 1 --bn transductive
      the mean of the softmaxes of several weights
  python evaluate.py --algorithm siamese --way 20 --query 1 \\
      --within-alphabet --data data/background
  python evaluate.py --algorithm siamese --finetune 20 --entropy 0.1
  python evaluate.py --algorithm siamese --runs all_runs.zip
      Omniglot's own one-shot challenge
  python evaluate.py --algorithm protonet --support mine --query-images unknown.jpg
      your own pictures, a folder for each class in mine; the exit status is 3 where some
      pictures cannot be used and are skipped
"""


def read_flags(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, TestOptions]:
    """Return the flags, and those of them that are options of a test.

    Raises:
        UserError: if they do not belong together.
    """
    arguments = parser().parse_args(argv)
    arguments.query, arguments.query_images = queries(arguments.query, arguments.query_images)
    for name, low in (("tasks", 1), ("seed", 0), ("workers", 0)):
        if getattr(arguments, name) < low:
            value = getattr(arguments, name)
            raise errors.UserError(f"--{name} must be at least {low}, not {value}")
    if (arguments.support is None) != (arguments.query_images is None):
        raise errors.UserError(
            "--support and --query-images belong together: pictures of known classes, and those "
            "to classify"
        )
    if arguments.reject is not None and arguments.support is None:
        raise errors.UserError(
            "--reject is for your own pictures; name them by --support and --query-images"
        )
    options = options_of(arguments)
    for name in ("support", "figures"):
        if getattr(arguments, name) and len(arguments.checkpoint or []) > 1:
            raise errors.UserError(
                f"several checkpoints are averaged on random tasks and --runs alone; name one for "
                f"--{name}"
            )
    if options.bn == "both" and (arguments.support or arguments.runs):
        raise errors.UserError("--bn both is for random tasks; choose transductive or inductive")
    return arguments, options


def parser() -> errors.Parser:
    """The command line."""
    parser = errors.Parser(ABOUT, EXAMPLE)
    which = parser.add_argument_group("which weights")
    which.add_argument(
        "--checkpoint",
        nargs="+",
        metavar="FILE",
        help="file of weights, or the name of weights that come with the project; of several, of "
        "any methods, the mean of their softmaxes is measured; without it, weights for the task "
        "are chosen, by default for --way 5 --shot 1: the latest of your own runs, else the best",
    )
    which.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="folder to choose from; your own runs are in its folder own and come first (default: "
        "MAML_CHECKPOINTS, or checkpoints here or beside the package)",
    )
    which.add_argument(
        "--algorithm", choices=METHODS, help="choose among the weights of this method"
    )
    which.add_argument(
        "--network",
        metavar="FILE.py:FUNCTION",
        help="the file of your own network, for weights that were trained with one; it is imported "
        "from here alone, never because a checkpoint names it",
    )
    changes = parser.add_argument_group("what to change of the trained learner")
    tune = parser.add_argument_group(
        f"fine-tuning of a cosine classifier on the support, for {', '.join(METRIC)}"
    )
    for f in dataclasses.fields(TestOptions):
        group = tune if f.name in ("finetune", "finetune_rate", "entropy") else changes
        add_option(group, f)
    how = parser.add_argument_group("what to measure on, and how")
    how.add_argument(
        "--data",
        default=".",
        metavar="DIR",
        help="folder with the arrays that make_data.py wrote (default: the current folder)",
    )
    how.add_argument(
        "--part",
        choices=["test", "val"],
        default="test",
        help="characters that tasks are drawn from (default: %(default)s)",
    )
    how.add_argument(
        "--within-alphabet",
        "--within_alphabet",
        nargs="?",
        const="",
        metavar="NAME",
        help="take the classes of a task from one alphabet: from NAME, or from a random one for "
        "each task",
    )
    how.add_argument(
        "--two-drawers",
        "--two_drawers",
        action="store_true",
        help="within an alphabet, take the support of a task from one drawer and its queries from "
        "another, as the one-shot challenge does; with --shot 1 --query 1",
    )
    how.add_argument(
        "--runs",
        metavar="PATH",
        help="measure on Omniglot's one-shot challenge instead of random tasks: all_runs.zip, or "
        "the folder of run01, run02, ...",
    )
    how.add_argument(
        "--support",
        metavar="DIR",
        help="use your own pictures instead: a folder for each class, with one picture or more",
    )
    how.add_argument(
        "--query-images",
        "--query_images",
        nargs="+",
        metavar="PATH",
        help="your own pictures to classify: files or folders",
    )
    how.add_argument(
        "--reject",
        type=float,
        metavar="FLOAT",
        help="refuse own pictures of none of the classes, at the cost of this share of the others, "
        "such as 0.05",
    )
    how.add_argument(
        "--tasks", type=int, default=1000, metavar="INT", help="random tasks (default: %(default)s)"
    )
    how.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="INT",
        help="seed of the tasks (default: %(default)s)",
    )
    how.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="INT",
        help="processes (default: one for each GPU, or else for each core)",
    )
    how.add_argument("--gpu", "--use_gpu", action="store_true", help="compute on a GPU")
    how.add_argument(
        "--last_step",
        action="store_true",
        help="measure after the last update step only, which is quicker",
    )
    how.add_argument(
        "--figures",
        metavar="DIR",
        help="write figures to DIR: learning curves, a task, predictions, embeddings and more",
    )
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def add_option(group: argparse._ArgumentGroup, f: dataclasses.Field) -> None:
    """Add the flag of one field of `TestOptions`."""
    names = [f"--{name}" for name in (f.name, f.metadata.get("alias")) if name]
    trained, choices = f.metadata.get("trained"), f.metadata.get("choices")
    methods = f.metadata.get("only_for", METHODS)
    text = f"{', '.join(methods)}: " if methods == GRADIENT or len(methods) == 1 else ""
    default = "as trained" if f.default is None and f.name != "finetune" else f.default
    text += f.metadata["help"] + (f" (default: {default})" if default is not None else "")
    kind = type(trained.default) if trained else {"bn": str, "finetune": int}.get(f.name, float)
    if f.name == "query":  # the forerunner's flag k_query, and pictures, as they were given before
        group.add_argument(*names, nargs="+", metavar="INT", help=text)
        return
    metavar = None if choices else kind.__name__.upper()
    group.add_argument(
        *names, type=kind, default=f.default, metavar=metavar, choices=choices, help=text
    )


def queries(
    query: list[str] | None, images: list[str] | None
) -> tuple[int | None, list[str] | None]:
    """Part --query into the number of query images and, as it was used before, pictures."""
    if query is None:
        return None, images
    if len(query) == 1 and query[0].lstrip("-").isdecimal() and not Path(query[0]).exists():
        return int(query[0]), images
    return None, [*query, *(images or [])]


def options_of(arguments: argparse.Namespace) -> TestOptions:
    """The options that the flags state."""
    names = [f.name for f in dataclasses.fields(TestOptions)]
    try:
        return TestOptions(**{name: getattr(arguments, name) for name in names})
    except errors.UserError as error:
        raise errors.UserError(f"--{error}") from None
