"""The thin client: what stands behind `QuantumDatabase.connect("qstore://host:port")`.

It needs neither FAISS nor LMDB, and loads neither.
"""

from qstore_client.blocking import RemoteEdge
from qstore_client.streaming import AsyncRemoteEdge
from qstore_client.target import Target

__all__ = ["AsyncRemoteEdge", "RemoteEdge", "Target"]
