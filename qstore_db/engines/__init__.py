"""Places that store and search vectors. `base` is the protocol, `embedded` the engine in this process."""
