#!/usr/bin/env python3
"""Residency's command: `python launch.py recipes/x.yaml`. `python launch.py --help` lists the rest."""

import sys

if __name__ == "__main__":
    from residency.cli.main import main

    sys.exit(main())
