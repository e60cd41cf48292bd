"""Compiled circuits: what runs them fast on this machine's processor. Needs Numba."""
