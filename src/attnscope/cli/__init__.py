"""The commands: `inspect`, `capture`, `view`, `report`, `attribute`, `evidence`, `explain`, `demo`.

Each command is a thin layer over a function that does the same, and every option is an option of that function.
Nothing slow is loaded before a command runs, and Keras is not loaded before its backend is chosen.
"""

from attnscope.cli._commands import attribute_to, capture_to, evidence_to, explain_to, inspect
from attnscope.cli._main import main

__all__ = ["attribute_to", "capture_to", "evidence_to", "explain_to", "inspect", "main"]
