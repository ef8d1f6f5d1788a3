"""`python -m hookrun` is the command `hookrun`."""

import sys

from hookrun.logdir.cli import main

sys.exit(main())
