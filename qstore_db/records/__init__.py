"""What a record is: vectors, superposition contexts, metadata, filters, metrics, results.

Nothing here stores or searches.
"""

from qstore_db.records.body import Body
from qstore_db.records.change import Change
from qstore_db.records.contexts import ContextLike, ContextQuery, Contexts, Superposition, soften
from qstore_db.records.filter import Filter, parse_filter
from qstore_db.records.group import Group
from qstore_db.records.metadata import Metadata, Value, check_id, check_metadata
from qstore_db.records.metric import Geometry, Metric
from qstore_db.records.record import Record
from qstore_db.records.results import Explanation, Match, Page, QueryResult, Ranked, TunnelResult, Walked
from qstore_db.records.vector import Vectors, as_matrix, as_vector, check_matrix, unit_rows

__all__ = [
    "Body",
    "Change",
    "ContextLike",
    "ContextQuery",
    "Contexts",
    "Explanation",
    "Filter",
    "Geometry",
    "Group",
    "Match",
    "Metadata",
    "Metric",
    "Page",
    "QueryResult",
    "Ranked",
    "Record",
    "Superposition",
    "TunnelResult",
    "Value",
    "Vectors",
    "Walked",
    "as_matrix",
    "as_vector",
    "check_id",
    "check_matrix",
    "check_metadata",
    "parse_filter",
    "soften",
    "unit_rows",
]
