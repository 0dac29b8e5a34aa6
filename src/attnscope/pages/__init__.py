"""Pages that show what was captured: arrays in, HTML out, without a model and without a network."""

from attnscope._offering import offer_classes
from attnscope.pages._card import card_element, card_page
from attnscope.pages._card_data import CardData, CardRules
from attnscope.pages._charts import Bars
from attnscope.pages._explanation import explanation_element, explanation_page, use_in_words
from attnscope.pages._means import received, received_per_group
from attnscope.pages._report import Section, report, save_report

__all__ = [
    "Bars",
    "CardData",
    "CardRules",
    "Section",
    "card_element",
    "card_page",
    "explanation_element",
    "explanation_page",
    "received",
    "received_per_group",
    "report",
    "save_report",
    "use_in_words",
]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
