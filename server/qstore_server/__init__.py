"""The server process: listener, sessions, batching. Its first part arrives with the wire protocol."""
