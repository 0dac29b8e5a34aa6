"""Pages that show what was captured: arrays in, HTML out, without a model and without a network."""

from attnscope.viewer.means import received, received_per_group
from attnscope.viewer.pictures import Bars
from attnscope.viewer.report import Section, report, save_report

__all__ = ["Bars", "Section", "received", "received_per_group", "report", "save_report"]
