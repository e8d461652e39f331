"""`python -m thresher COMMAND`: the command line."""

import sys

from thresher.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
