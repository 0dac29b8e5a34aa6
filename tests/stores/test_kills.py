"""A run into a store that is killed at any moment keeps what it had committed, and ends as if it had not been."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "store_kills.py"
EVERY = 37
"""Operations between two kills; `python tests/store_kills.py 1` kills before each."""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_run_that_is_killed_or_has_no_room_is_resumed_as_if_nothing_had_been():
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, str(EVERY)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.stdout.splitlines()[-1:] == ["all resumed"], ended.stderr
