"""The command of an `export` stage: `python -m residency.engines.transformers.export stage.yaml`.

Writes a checkpoint into a folder beside its place and renames it when it is whole, so that
`outputs/model` is there complete or not at all.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines import hf_folder
from residency.engines.command import run_stage
from residency.engines.transformers import card, gguf, gguf_tokenizer, weights
from residency.errors import StageFailed
from residency.files import write_json, write_text
from residency.paths import cache_dir, mirror_dir

REPORT = "report.json"
"""What the command did, for `verify`: {"did", "warnings", "parameters", "dtype"}."""


def main(arguments: list[str]) -> int:
    """Run the stage that the file names; returns the exit code."""
    return run_stage(arguments, export)


def export(stage: Mapping[str, Any], folder: Path) -> Path:
    """Write the checkpoint of a stage; returns its folder.

    Args:
        stage: What `engine.prepare` wrote into stage.yaml.
        folder: The stage's folder.
    """
    target = folder / "outputs" / "model"
    part = target.parent / ".model.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    made = card.Card(name=str(stage["name"]), recipe=stage["recipe"])
    if stage.get("source"):
        did, warnings = _from_source(stage, folder, part, made)
    else:
        did, warnings = _from_model(stage, part, made)
    weights.tidy(part)
    say("checking the result")
    tensors = hf_folder.check_model(part)
    warnings += _tokenizer_check(part, strict=bool(stage.get("source")))
    write_text(part / "README.md", made.text())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    types = sorted({tensor.dtype for tensor in tensors.values()})
    report = {
        "did": did,
        "parameters": sum(tensor.size for tensor in tensors.values()),
        "dtype": types[0] if len(types) == 1 else types,
        "warnings": warnings,
    }
    if made.source:
        report["source"] = made.source
    write_json(folder / REPORT, report)
    say(f"done: {report['parameters']:,} parameters, {', '.join(types)}")
    return target


def _from_source(
    stage: Mapping[str, Any], folder: Path, part: Path, made: card.Card
) -> tuple[str, list[str]]:
    """Fetch a file and convert it, and merge the adapter, if there is one."""
    from residency.sources.fetch import fetch

    source = dict(stage["source"])
    fetched = fetch(source, cache=cache_dir(), mirror=mirror_dir(), base=Path(stage["base"]), report=say)
    if fetched.path.is_dir():
        raise StageFailed(
            f"the source holds {len(fetched.files)} files, and one is converted",
            "name it: `member: '**/NAME.gguf'`",
        )
    with fetched.path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise StageFailed(
                f"{fetched.path.name} is not a GGUF file, the one kind of file that `source:` converts",
                "correct `member:`, or give a folder in Hugging Face's format as `model:`",
            )
    say(f"converting {fetched.path.name}")
    adapter = stage.get("adapter")
    plain = folder / "converted" if adapter else part
    shutil.rmtree(folder / "converted", ignore_errors=True)
    plain.mkdir(exist_ok=True)
    about = gguf.convert(fetched.path, plain, stage["dtype"])
    made.base = str(about.get("general.name") or fetched.path.stem)
    made.licence = source.get("licence") or about.get("general.license")
    made.source = {**source, "url": fetched.url, "sha256": fetched.sha256}
    made.how = (
        f"Converted from the GGUF file `{fetched.path.name}`; what its quantisation took is not given back."
    )
    if not adapter:
        return "convert", []
    warnings = _merge(plain, Path(adapter), part, stage["dtype"], made)
    shutil.rmtree(plain)
    return "merge", warnings


def _from_model(stage: Mapping[str, Any], part: Path, made: card.Card) -> tuple[str, list[str]]:
    """Copy a model, or merge an adapter into it."""
    name, dtype, adapter = str(stage["model"]), stage["dtype"], stage.get("adapter")
    base = weights.locate(name)
    above, licence = card.inherited(base)
    local = Path(name).is_absolute()
    made.base = (above or base.name) if local else name
    made.licence = licence
    if adapter:
        return "merge", _merge(base, Path(adapter), part, dtype, made)
    made.training = card.training_folder(base) if local else None
    say(f"copying {name}")
    did = weights.copy(base, part, dtype)
    made.how = f"A copy of {made.base}." if did == "copy" else f"{made.base}, its weights brought to {dtype}."
    if made.training is not None:
        made.how = "Trained by the recipe below."
    return did, []


def _merge(base: Path, adapter: Path, part: Path, dtype: str, made: card.Card) -> list[str]:
    if not adapter.is_dir():
        raise StageFailed(f"the adapter {adapter} is not there")
    say(f"merging {adapter} into {base}")
    said = weights.merge(base, adapter, part, dtype)
    made.training = card.training_folder(adapter)
    made.how = f"{made.base} with an adapter merged into its weights."
    return said


def _tokenizer_check(folder: Path, *, strict: bool) -> list[str]:
    """Load the tokenizer as a user will and see that texts come back; a warning where it is not our work."""
    from transformers import AutoTokenizer

    try:
        gguf_tokenizer.self_check(AutoTokenizer.from_pretrained(folder))
    except StageFailed as error:
        if strict:
            raise
        return [error.message]
    return []


def say(text: str) -> None:
    """One line of the stage's log."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
