"""Rewards: Python functions, reward models, rules, and their mix."""
