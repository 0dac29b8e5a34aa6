"""Work shared among workers: processes on this machine, or actors of a Ray cluster. What the work is, does not matter.

A worker is made once and then given one piece of work after the other. It may end at any moment, by a signal or with
its machine: another one is started in its place, and its piece is given to another worker.
"""

from attnscope.engines._pool import Pool
from attnscope.engines._start import ENGINES, LOCAL, check_engine, pool

__all__ = ["ENGINES", "LOCAL", "Pool", "check_engine", "pool"]
