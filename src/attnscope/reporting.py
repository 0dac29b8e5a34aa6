"""The old name of `attnscope.pages`, which still works."""

from attnscope.pages import Bars, Section, received, received_per_group, report, save_report

__all__ = ["Bars", "Section", "received", "received_per_group", "report", "save_report"]


def __dir__() -> list[str]:
    return sorted(__all__)
