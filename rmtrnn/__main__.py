"""``python -m rmtrnn``: the same as the command ``rmtrnn``."""

import sys

from rmtrnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
