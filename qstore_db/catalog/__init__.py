"""The small transactional store beside the records: `base` is the protocol, `lmdb` the one for one
process."""
