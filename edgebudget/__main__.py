"""`python -m edgebudget`: the same as the command `edgebudget`."""

import sys

from edgebudget.cli import main

if __name__ == "__main__":
    sys.exit(main())
