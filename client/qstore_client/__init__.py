"""The thin client: connections to a server. Its first part arrives with the wire protocol."""
