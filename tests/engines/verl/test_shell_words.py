"""Shell scripts are read as the shell would read them, and never run."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.engines.verl.importing import shell_words
from residency.engines.verl.importing.shell_words import Hole

BASH = shutil.which("bash")


def words(text: str) -> list[str]:
    """The words of the last command, holes as `<kind:text>`."""
    command = shell_words.read(text).commands[-1]
    return [
        "".join(p if isinstance(p, str) else f"<{p.kind}:{p.text}>" for p in word) for word in command.words
    ]


SCRIPTS = {
    "quotes": "run 'a b' \"c d\" e\\ f \"x\"'y'z \"\" ''",
    "continued": "run a \\\n    b \\\n  c\n",
    "comments": "# one\nrun a # two\n",
    "variables": "A=1 B='x y'\nC=\"$A-${B}\"\nrun $A \"$B\" ${C} $B",
    "defaults": "E=\nrun ${U:-u} \"${E:-e}\" \"${E-e}\" ${U-v} ${A:=w} $A ${A:+yes} \"${U:+no}\"",
    "nested_defaults": "B=2\nrun ${A:-${B:-3}} ${A:-\"x y\"} ${A:-$B/c}",
    "arrays": "A=(a 'b c' # no\n  d)\nA+=(e)\nB=()\nrun \"${A[@]}\" \"${B[@]}\" ${A[1]} ${#A[@]}",
    "glued_arrays": 'A=(a b)\nrun x"${A[@]}"y',
    "arithmetic": "A=4\nrun $((1024 * 2)) $(( (A + 1) * 2 )) $((A / 3)) $((-A))",
    "cut": "P=/a/b.tar.gz\nrun ${P##*/} ${P%.*} ${P%%.*} ${P#*/} ${P/a/z} ${P%/*}",
    "case_of_words": "A=aB\nrun ${A^^} ${A,,}",
    "if": 'A=x\nif [ "$A" = x ]; then B=1; else B=2; fi\nif [[ -z "$U" ]]; then C=3; fi\nrun $B $C',
    "elif": "A=2\nif [ $A -eq 1 ]; then B=1; elif [ $A -gt 1 ]; then B=2; else B=3; fi\nrun $B",
    "not": 'A=x\nif [ ! -n "$A" ]; then B=1; else B=2; fi\nrun $B',
    "and_or": '[ -z "$U" ] && A=1\n[ -n "$U" ] && A=2\n[ -n "$U" ] || B=3\nrun $A $B',
    "case": "A=npu\ncase \"$A\" in\n  gpu) B=1;;\n  n*|m) B=2\n ;;\n  *) B=3;;\nesac\nrun $B",
    "for": "for x in a; do B=$x; done\nrun $B",
    "function": "f() {\n  A=$1\n}\nf q\nrun $A",
    "redirections": "run a 2>/dev/null </dev/null",
    "heredoc": "cat <<'EOF' >/dev/null\nrun b\nEOF\nrun a",
    "list": "run k='[\"a\",\"b\"]' \"k=['$HOME']\" k=['a','b']",
    "export": "export A=1\nexport B\nrun $A",
    "dollar": "run 5$ \"$\" a$",
    "echo": "A=$(echo x)\nrun $A",
    "semicolons": "A=1; B=2; run $A $B",
}  # fmt: skip


@pytest.mark.skipif(BASH is None, reason="there is no bash to compare with")
@pytest.mark.parametrize("name", SCRIPTS)
def test_as_bash_reads_it(name: str, tmp_path: Path) -> None:
    """Our own short scripts, run by bash with a `run` that prints its words."""
    script = "run() { printf '%s\\0' \"$@\"; }\n" + SCRIPTS[name]
    assert BASH is not None
    done = subprocess.run(
        [BASH, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env={"HOME": "~"}
    )
    assert words(SCRIPTS[name])[1:] == done.stdout.split("\0")[:-1]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), max_size=4))
def test_quoted_words_come_back(given_: list[str]) -> None:
    assert words("run " + " ".join(map(shlex.quote, given_))) == ["run", *given_]


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab =$\"'\\`(){}[]|&;<>#\n-:@*%/ifthencasdo\x00"), max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    script = shell_words.read(text)
    assert all(isinstance(part, str | Hole) for c in script.commands for word in c.words for part in word)


def test_what_only_a_shell_can_tell_is_a_hole() -> None:
    text = 'run $UNSET "a/$UNSET" $(date +%Y) `whoami` $1 "${2:-two}" $(pwd)/x "$@" $*'
    assert words(text) == [
        "run", "<variable:UNSET>", "a/<variable:UNSET>", "<command:date +%Y>", "<command:whoami>",
        "<argument:1>", "two", "./x",
    ]  # fmt: skip


def test_a_choice_between_two_words_is_taken_and_said() -> None:
    script = shell_words.read("D=${D:-$(python3 -c 'import x' 2>/dev/null && echo npu || echo gpu)}\nrun $D")
    assert shell_words.plain(script.commands[-1].words[1]) == "gpu"
    assert script.notes == [
        "line 1: `$(python3 -c 'import x' 2>/dev/null && echo npu || echo gpu)` is taken as `gpu`"
    ]


def test_what_cannot_be_decided_is_said() -> None:
    script = shell_words.read("if [ -f x ]; then A=1; else A=2; fi\ncase $U in a) ;; esac\n. env.sh\nrun $A")
    assert [note.split(":")[0] for note in script.notes] == ["line 1", "line 2", "line 3"]
    assert shell_words.plain(script.commands[-1].words[1]) == "2"


def test_nothing_is_run(tmp_path: Path) -> None:
    shell_words.read(f"A=$(touch {tmp_path}/a)\ntouch {tmp_path}/b\n: > {tmp_path}/c\n`touch {tmp_path}/d`")
    assert list(tmp_path.iterdir()) == []


def test_the_environment_of_a_command() -> None:
    script = shell_words.read("export A=1\nB=2\nC=3 run x")
    assert script.commands[-1].env == {"A": ("1",), "C": ("3",)}


def test_deep_nesting_ends() -> None:
    shell_words.read("f() { f; }\nf\n" + "if [ 1 ]; then " * 100)
    shell_words.read("${A:-" * 300 + "}" * 300)
