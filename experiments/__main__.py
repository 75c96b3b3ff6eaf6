"""`python -m experiments [NAME [--flag=value ...] | report]`."""

import sys

from experiments.harness.cli import main

if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
