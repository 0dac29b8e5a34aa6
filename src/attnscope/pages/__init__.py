"""Pages that show what was captured: arrays in, HTML out, without a model and without a network."""

from attnscope.pages._charts import Bars
from attnscope.pages._means import received, received_per_group
from attnscope.pages._report import Section, report, save_report

__all__ = ["Bars", "Section", "received", "received_per_group", "report", "save_report"]
