"""``python -m attnscope``: the commands."""

import sys

from attnscope.cli import main

sys.exit(main())
