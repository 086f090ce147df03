"""The stand-in for torchaudio, on a stand-in for LLaMA-Factory (no heavy import)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from residency.engines.llamafactory.command import STANDIN

PLUGIN = """
import torchaudio
import importlib.util
def use(): torchaudio.load("x.wav")
seen = importlib.util.find_spec("torchaudio")
"""
ASK = """
import importlib.util, llamafactory.data.mm_plugin as p
print(p.seen, importlib.util.find_spec("torchaudio"))
try: p.use()
except ImportError as error: print(error)
try: import torchaudio
except ModuleNotFoundError as error: print(error)
import sitecustomize_ran
"""


def python(folder: Path, code: str, *path: Path) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in (STANDIN, folder, *path))}
    # A child of a child, as under torchrun.
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fake(folder: Path) -> Path:
    (folder / "llamafactory" / "data").mkdir(parents=True)
    (folder / "llamafactory" / "__init__.py").touch()
    (folder / "llamafactory" / "data" / "__init__.py").touch()
    (folder / "llamafactory" / "data" / "mm_plugin.py").write_text(PLUGIN)
    (folder / "sitecustomize.py").write_text(
        "import sys, types; sys.modules['sitecustomize_ran'] = types.ModuleType('x')"
    )
    return folder


def test_only_the_one_module_sees_it(tmp_path: Path) -> None:
    assert python(fake(tmp_path), ASK).splitlines() == [
        "None None",
        "audio data needs torchaudio: pip install torchaudio",
        "No module named 'torchaudio'",
    ]


def test_the_real_one_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real" / "torchaudio").mkdir(parents=True)
    (tmp_path / "real" / "torchaudio" / "__init__.py").write_text("def load(name): print('loaded', name)")
    code = "import llamafactory.data.mm_plugin as p; p.use()"
    assert python(fake(tmp_path / "fake"), code, tmp_path / "real") == "loaded x.wav\n"
