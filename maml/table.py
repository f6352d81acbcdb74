"""python -m maml.table, as it was called before python -m maml table."""

from maml.cli.table import main
from maml.system import errors

if __name__ == "__main__":
    errors.run(main)
