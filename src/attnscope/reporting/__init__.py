"""Pages that show what was captured: arrays in, HTML out, without a model and without a network."""

from attnscope.reporting.means import received, received_per_group
from attnscope.reporting.page import Section, report, save_report
from attnscope.reporting.pictures import Bars

__all__ = ["Bars", "Section", "received", "received_per_group", "report", "save_report"]
