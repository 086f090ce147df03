"""How fast the launcher is, against goals and against doing the same by hand: `python -m benchmarks.run`."""
