"""Vector databases as servers, each behind one face: a process of its own, and a blocking client for one connection."""
