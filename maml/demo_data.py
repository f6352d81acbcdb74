"""python -m maml.demo_data, as it was called before python -m maml demo."""

from maml.cli.demo import main
from maml.system import errors

if __name__ == "__main__":
    errors.run(main)
