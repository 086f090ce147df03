"""`launch.py setup ENGINE`: make the environment of an engine that cannot share the launcher's."""

from __future__ import annotations

import argparse
import time

from residency.errors import EXIT_DONE


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "setup",
        help="make an engine's own environment",
        description="Makes .venvs/ENGINE from the pins in requirements/engines/: whole, or not at all.",
        epilog="example: python launch.py setup vllm     (without a GPU: vLLM's CPU build)",
    )
    parser.add_argument("engine", metavar="ENGINE", help="vllm, sglang or verl-gpu")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--again", action="store_true", help="make it anew, though it is there")


def run(arguments: argparse.Namespace) -> int:
    """Make the environment unless it is there. Exit 0, or 3 when a package cannot be had."""
    from residency import environments
    from residency.plan import machine
    from residency.setup import make, pins

    name = str(arguments.engine)
    wanted = pins.choose(name, gpu=machine.gpu_count() > 0)
    where = environments.folder(name)
    done = make.current(name, wanted)
    if arguments.dry_run:
        there = "it is there already, and would be left as it is; " if done and not arguments.again else ""
        print(f"{where}: {there}from {wanted.file.name}, about {wanted.gigabytes:g} GB")
        print("\n".join(f"  {step}" for step in make.plan(wanted)))
        return EXIT_DONE
    if done and not arguments.again:
        print(f"{where} is there, as {wanted.file.name} says; `--again` makes it anew")
        return EXIT_DONE
    began = time.monotonic()
    make.make(name, wanted, lambda text: print(f"{text} …", flush=True))
    found = environments.version(wanted.engine, name)
    print(f"{where}: {wanted.engine} {found}, in {time.monotonic() - began:.0f} s")
    return EXIT_DONE
