"""What there is to call: python -m maml."""

from maml.system import errors

OVERVIEW = """\
python make_data.py --help        raw Omniglot to arrays
python train.py --help            train a learner, see it in VisualDL, resume it
python evaluate.py --help         measure a checkpoint; tell your own pictures; write figures
python -m maml.draw --help        a page to draw your own characters on
python -m maml.table --help       the READMEs' table out of checkpoints
python -m maml.demo_data --help   the data of make demo
make help                         demo, tests, table
"""


def main() -> None:
    errors.Parser(__doc__, OVERVIEW).parse_args()
    print(OVERVIEW, end="")


if __name__ == "__main__":
    errors.run(main)
