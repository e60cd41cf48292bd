"""Benchmarks: one small program a claim, each with its peers timed in the same run.

`python -m benchmarks` runs all of them and writes a JSON file and a plot each into `benchmarks/results`.
`python -m benchmarks --table` prints those results as the Markdown table of the README.
"""
