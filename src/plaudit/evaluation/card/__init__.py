"""The card of a reward model: can it be trusted, where is it wrong, and may a pipeline go on with it?"""

from plaudit.evaluation.card.gate import CardConfig, Reason, gate
from plaudit.evaluation.card.making import Card, make_card
from plaudit.evaluation.card.page import card_page

__all__ = ["Card", "CardConfig", "Reason", "card_page", "gate", "make_card"]
