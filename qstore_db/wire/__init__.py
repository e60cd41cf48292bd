"""The wire protocol, without any I/O: frames, messages and limits that both ends share (`docs/protocol.md`)."""
