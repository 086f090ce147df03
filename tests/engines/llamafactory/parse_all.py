"""Run as a script: parses each of a list of settings as LLaMA-Factory does; prints what it says."""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
import types


def main() -> None:
    if importlib.util.find_spec("torchaudio") is None:
        module = types.ModuleType("torchaudio")
        module.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = module
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from llamafactory.hparams import get_train_args

    said = []
    for settings in json.load(sys.stdin):
        try:
            get_train_args(dict(settings))
            said.append(None)
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    json.dump(said, out)
    out.close()


if __name__ == "__main__":
    import importlib.util

    main()
