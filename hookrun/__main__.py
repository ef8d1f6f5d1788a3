"""`python -m hookrun` is the command `hookrun`."""

import sys

from hookrun.cli import main

sys.exit(main())
