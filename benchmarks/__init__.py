"""Speed and memory as ratios, for developers: ``python -m benchmarks.speed --list``."""
