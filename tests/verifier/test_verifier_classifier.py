from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import TEXTS, make_tiny_model
from verifier_case import add_head

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.verifier import checkpoint, classifier, text

PAIRS = [(f"{word} " * (1 + index * 7 % 23), "yes") for index, word in enumerate(("yes", "no", "maybe") * 7)]


def test_probabilities_do_not_depend_on_the_batch(verifier: Path) -> None:
    held = classifier.held(str(verifier))
    alone = [held.probabilities([pair], batch_size=1)[0] for pair in PAIRS]
    together = held.probabilities(PAIRS, batch_size=8)
    assert max(abs(a - b) for a, b in zip(alone, together, strict=True)) < 1e-4
    assert max(alone) - min(alone) > 0.01  # else the order could not be seen


def test_probabilities_are_the_models_own(verifier: Path) -> None:
    """The same figures as transformers gives for the text, unpadded, with the end-of-text last."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(verifier)
    model: Any = AutoModelForSequenceClassification.from_pretrained(verifier).eval()
    filled = text.TEMPLATE.replace("{response}", "no").replace("{reference}", "yes")
    ids = tokenizer(filled)["input_ids"] + [tokenizer.eos_token_id]
    with torch.no_grad():
        wanted = model(torch.tensor([ids])).logits.softmax(-1)[0, 1].item()
    assert classifier.held(str(verifier)).probabilities([("no", "yes")]) == [pytest.approx(wanted, abs=1e-5)]


def test_a_model_is_loaded_once(verifier: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(verifier)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda p=path: found.append(classifier.held(str(p))))
        for path in (verifier, link)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1]


def test_threads_are_given_back(verifier: Path) -> None:
    import torch

    held = classifier.held(str(verifier))
    before = torch.get_num_threads()
    seen: list[int] = []
    forward = held._forward

    def watched(ids: list[list[int]]) -> list[float]:
        seen.append(torch.get_num_threads())
        return forward(ids)

    held._forward = watched  # type: ignore[method-assign]
    try:
        torch.set_num_threads(2)
        held.probabilities(PAIRS[:2], threads=1)
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        del held._forward


def test_a_long_response_loses_its_end_and_the_reference_stays(verifier: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(verifier)
    ids = classifier.encode(
        tokenizer, text.TEMPLATE, ("start " + "word " * 900 + "finish", "the reference"), 200
    )
    read = tokenizer.decode(ids)
    assert len(ids) <= 200
    assert len(ids) > 190
    assert "start" in read
    assert "finish" not in read
    assert "<Reference Answer>\nthe reference\n" in read
    with pytest.raises(ValueError, match="take up all of the verifier's 50 tokens"):
        classifier.encode(tokenizer, text.TEMPLATE, ("x" * 500, "long " * 100), 50)


@given(st.lists(st.integers(1, 300), max_size=30), st.integers(1, 8), st.integers(1, 1000))
def test_batches(lengths: list[int], size: int, tokens: int) -> None:
    made = list(classifier.batches(lengths, size, tokens))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        width = max(lengths[index] for index in batch)
        assert len(batch) == 1 or (len(batch) <= size and len(batch) * width <= tokens)


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nowhere is not there"):
        classifier.held(str(tmp_path / "nowhere"))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(Missing, match=r"holds no config\.json") as told:
        classifier.held(str(tmp_path))
    assert "kind: export" in (told.value.hint or "")


def test_no_head(base: Path) -> None:
    with pytest.raises(RecipeInvalid, match="LlamaForCausalLM without a classification head") as told:
        classifier.held(str(base))
    assert "kind: verifier" in (told.value.hint or "")


def test_head_named_but_not_there(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlamaForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeInvalid, match="without a classification head"):
        classifier.held(str(folder))


def test_three_classes(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="tells 3 classes apart"):
        classifier.held(str(add_head(base, tmp_path, classes=3)))


def test_cut_off_weights(verifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(verifier, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(StageFailed, match="cut off"):
        classifier.held(str(folder))


def test_not_finite(verifier: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    shutil.copytree(verifier, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["score.weight"] = torch.full_like(tensors["score.weight"], torch.nan)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="gives no numbers"):
        classifier.Classifier(str(folder)).probabilities([("a", "b")])


def test_settings_travel_with_the_model(verifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(verifier, folder)
    assert checkpoint.settings(folder) == checkpoint.Settings(text.TEMPLATE, 4000)
    (folder / checkpoint.SETTINGS).write_text(
        json.dumps({"template": "{response}={reference}", "max_length": 64})
    )
    held = classifier.held(str(folder))
    plain = classifier.held(str(verifier))
    assert held.settings == checkpoint.Settings("{response}={reference}", 64)
    assert held.probabilities([("no", "yes")]) == plain.probabilities(
        [("no", "yes")], template="{response}={reference}"
    )


@pytest.mark.parametrize(
    ("config", "own", "end", "wanted"),
    [(5, 0, 2, 5), (2, 0, 2, 2), (None, 7, 2, 7), (None, 2, 2, 0), (None, None, 0, 1), (None, None, None, 0)],
)
def test_padding(config: int | None, own: int | None, end: int | None, wanted: int) -> None:
    class Side:
        pad_token_id: int | None
        eos_token_id: int | None

    model, tokenizer = Side(), Side()
    model.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id = config, own, end
    assert classifier.padding(model, tokenizer) == wanted


def test_no_padding_in_the_configuration(verifier: Path, tmp_path: Path) -> None:
    """A model that reads its very last token does so in a batch too."""
    folder = tmp_path / "m"
    shutil.copytree(verifier, folder)
    config = json.loads((folder / "config.json").read_text())
    config["pad_token_id"] = None
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["pad_token"] = settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    held = classifier.Classifier(str(folder))
    wanted = classifier.held(str(verifier)).probabilities(PAIRS[:6], batch_size=1)
    assert held.probabilities(PAIRS[:6], batch_size=6) == pytest.approx(wanted, abs=1e-4)


def test_another_vocabulary(tmp_path: Path) -> None:
    """Another tokenizer, other ids: the same interface, text in and probability out."""
    other = add_head(make_tiny_model(tmp_path / "b", TEXTS, vocabulary=300, family="qwen2"), tmp_path / "v")
    found = classifier.held(str(other)).probabilities(PAIRS)
    assert len(found) == len(PAIRS)
    assert all(0 <= value <= 1 for value in found)


def test_what_is_held_can_be_let_go(verifier: Path) -> None:
    first = classifier.held(str(verifier))
    assert classifier.held(str(verifier)) is first
    classifier.release()
    assert classifier.held(str(verifier)) is not first
