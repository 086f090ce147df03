"""`launch.py`: finds the verb, runs it, and turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from residency.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_RECIPE, RecipeInvalid, ResidencyError

# verb → (module, what it does). A literal list: greppable, and nothing is imported to show help.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("residency.cli.run", "run a recipe (the verb may be left out)"),
    "check": ("residency.cli.check", "report every mistake in recipes, at once"),
    "plan": ("residency.cli.plan", "show what would run, what is reused, and why"),
    "serve": ("residency.cli.serve", "start a server, of a model or a recipe, and keep it until Ctrl-C"),
    "chat": ("residency.cli.chat", "talk to a model, or to a server"),
    "ask": ("residency.cli.ask", "ask an index, or a retrieval server, a question"),
    "runs": ("residency.cli.runs", "list the runs"),
    "show": ("residency.cli.show", "show one run"),
    "diff": ("residency.cli.diff", "say what differs between two runs"),
    "compare": ("residency.cli.compare", "say whether the scores of two runs differ"),
    "report": ("residency.cli.report", "write a run's page"),
    "score": ("residency.cli.score", "score a file of answers by a benchmark's official rules"),
    "rewards": ("residency.cli.rewards", "check a recipe's rewards on right and on corrupted answers"),
    "corpus": ("residency.cli.corpus", "look into a corpus of PubMed records, or write its passages"),
    "pubmed": ("residency.cli.pubmed", "search a corpus in PubMed's language, or index it for that"),
    "setup": ("residency.cli.setup", "make an engine's own environment"),
    "doctor": ("residency.cli.doctor", "say what each engine's environment has, and what is wrong"),
    "import": ("residency.cli.import_", "turn an engine's own file into a recipe"),
    "schema": ("residency.cli.schema", "write the JSON Schemas anew, or check that they are current"),
}

USAGE = """usage: python launch.py RECIPE [--profile NAME] [--set a.b=c] [--dry-run] …
       python launch.py VERB …

  python launch.py recipes/quickstart.yaml                  run a recipe
  python launch.py recipes/quickstart.yaml --profile smoke  run it small
  python launch.py check recipes/quickstart.yaml            look for mistakes only
  python launch.py serve recipes/serve/retriever.yaml       serve an index

verbs:
"""


def usage() -> str:
    """The help text: every verb with what it does."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {what}" for verb, (_, what) in VERBS.items()]
    return USAGE + "\n".join(lines) + "\n\n`python launch.py VERB --help` tells a verb's options.\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 done, 2 recipe wrong, 3 missing, 4 failed, 5 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without UTF-8, a file name that is none: shown with `?`, never a traceback.
            stream.reconfigure(errors="replace")
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except ResidencyError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`launch.py runs | head`): no error of ours. What is
        # still in the buffer goes nowhere, so that the interpreter does not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print_error(ResidencyError(str(error)))
        return EXIT_FAILED
    except UnicodeEncodeError as error:
        hint = "rename the file; where the name is right, set LC_ALL=C.UTF-8"
        print_error(RecipeInvalid(f"a name is not UTF-8: {_line(error)}", hint))
        return EXIT_RECIPE


def _line(error: UnicodeEncodeError) -> str:
    """The line of the text that could not be written, its foreign bytes as `\\xff`."""
    before, after = error.object[: error.start], error.object[error.start :]
    line = before.rpartition("\n")[2] + after.partition("\n")[0]
    return line.strip().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:200]


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if arguments else EXIT_RECIPE
    if arguments[0] == "--version":
        from residency import __version__

        print(f"residency {__version__}")
        return 0
    if arguments[0] not in VERBS:
        if _mistyped_verb(arguments[0]):
            return EXIT_RECIPE
        arguments.insert(0, "run")
    module = importlib.import_module(VERBS[arguments[0]][0])
    parser = argparse.ArgumentParser(prog="launch.py")
    module.add_parser(parser.add_subparsers(dest="verb", metavar="VERB"))
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise _unknown(unknown[0], arguments[0], parser)
    return int(module.run(parsed))


def _unknown(word: str, verb: str, parser: argparse.ArgumentParser) -> RecipeInvalid:
    """The error for an argument that the verb does not know."""
    from residency.recipe.suggest import closest

    verbs = next(action for action in parser._actions if isinstance(action.choices, dict))
    assert isinstance(verbs.choices, dict)
    options = [option for option in verbs.choices[verb]._option_string_actions if option.startswith("--")]
    hint = f"`python launch.py {verb} --help` tells what it takes"
    if not word.startswith("-"):
        return RecipeInvalid(f"`launch.py {verb}` takes no `{word}` there", hint)
    name = word.partition("=")[0]
    near = closest(name.lstrip("-"), [option.lstrip("-") for option in options])
    return RecipeInvalid(
        f"`launch.py {verb}` takes no {name}", f"did you mean --{near[0]}?" if near else hint
    )


def print_error(error: ResidencyError) -> None:
    """An error for a person: what is wrong, then what to do."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  help: {error.hint}", file=sys.stderr)


def _mistyped_verb(word: str) -> bool:
    """True, after saying so, when `word` is neither a verb nor looks like a recipe's file or an option."""
    if word.startswith("-") or "/" in word or word.endswith((".yaml", ".yml")):
        return False
    from pathlib import Path

    if Path(word).exists():
        return False
    from residency.recipe.suggest import closest

    guess = closest(word, VERBS)
    hint = f"did you mean `{guess[0]}`?" if guess else "`python launch.py --help` lists the verbs"
    print_error(ResidencyError(f"`{word}` is neither a verb nor a recipe", hint))
    return True
