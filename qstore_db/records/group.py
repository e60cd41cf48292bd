"""Groups: records some of whose numbers move together."""

from __future__ import annotations

from dataclasses import dataclass

CONTEXT_FIELD = "context:"
"""Before the name of a context, a field means the Born weight in it."""
MAX_MEMBERS = 1_001
"""So that one update moves at most 1,000 others."""
MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class Group:
    """What `create_group` made: an update of one member moves `fields` of the others by correlation * change."""

    name: str
    collection: str
    ids: tuple[str, ...]
    """2 to 1,001 members. They are ids: a record written again under one is a member again."""
    correlation: float
    """In [-1, 1]."""
    fields: tuple[str, ...]
    """Dotted metadata paths of numbers, and "context:NAME" for the Born weight in a context."""
