"""Kinds of feedback: how a form is read, and how acts of it become training data. One file per kind."""
