"""Plaudit: people's feedback in, a better language model out."""

__version__ = "0.1.0"
