"""Ranking by context, planning, tunnelling: the same code over every engine."""
