"""Episodes for tests: messages whose content says which they are, written by the real writer."""

import sys
from pathlib import Path

# What several test modules share lies beside them.
sys.path.insert(0, str(Path(__file__).parent))
