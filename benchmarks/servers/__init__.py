"""Servers behind one face: each a process of its own, with a blocking client that is one connection."""
