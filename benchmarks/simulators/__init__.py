"""Simulators of circuits beside each other: the same layered circuit, forwards and backwards."""
