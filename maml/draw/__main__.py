"""python -m maml.draw"""

from maml.cli.draw import main
from maml.system import errors

if __name__ == "__main__":
    errors.run(main)
