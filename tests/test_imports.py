"""What `import hookrun` brings along."""

from __future__ import annotations

import subprocess
import sys


def test_tensorboardx_is_not_imported_before_it_is_used():
    """It brings PyTorch along, where that is installed."""
    program = "import sys, hookrun; sys.exit('tensorboardX' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=100).returncode == 0
