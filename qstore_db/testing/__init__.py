"""Conformance suites, strategies and fault tools, for our own tests and for those of third parties."""
