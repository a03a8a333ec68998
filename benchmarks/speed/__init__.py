"""Ratios and curves of speed and memory: ``python -m benchmarks.speed``."""
