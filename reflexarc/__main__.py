"""`python -m reflexarc` is `reflexarc`."""

import sys

from reflexarc.cli import main

sys.exit(main())
