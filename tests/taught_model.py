"""A tiny model that is taught dialogues with a tool, so that it calls the tool by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_model import make_tiny_model

from residency.engines.verl.tool_schemas import schemas

Dialogue = list[dict[str, Any]]
STEPS = 300


def dialogue(system: str, question: str, call: dict[str, Any], told: str, last: str) -> Dialogue:
    """A question, a call, what the tool says, and the last turn."""
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": question},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
        {"role": "tool", "content": told},
        {"role": "assistant", "content": last},
    ]


def teach(folder: Path, dialogues: Sequence[Dialogue], template: str, tools: Sequence[str]) -> Path:
    """Train a tiny model in `folder` to say its own turns of the dialogues, one as likely as another.

    Args:
        folder: Where it is written.
        dialogues: Each made by `dialogue`.
        template: The chat template.
        tools: Dotted paths.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    told = json.dumps(schemas(tools))
    texts = [template, *[told] * 4, *map(str, dialogues)]
    make_tiny_model(folder, texts, vocabulary=900)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)

    def ids_of(messages: Dialogue, opened: bool) -> list[int]:
        made = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tools=schemas(tools),
            add_generation_prompt=opened,
            return_dict=False,
        )
        return list(made)

    examples = []
    for messages in dialogues:
        ids: list[int] = []
        own: list[bool] = []
        for asked, said in ((2, 3), (4, 5)):  # what is learnt are the model's own turns
            before, after = ids_of(messages[:asked], True), ids_of(messages[:said], False)
            own += [False] * (len(before) - len(ids)) + [True] * (len(after) - len(before))
            ids = after
        examples.append((ids, own))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    pick = random.Random(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1.0, (step + 1) / 20, (STEPS - step) / 100)
        batch = pick.sample(examples, 8)
        longest = max(len(ids) for ids, _ in batch)
        inputs = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        labels = [
            [t if mine else -100 for t, mine in zip(ids, own, strict=True)] + [-100] * (longest - len(ids))
            for ids, own in batch
        ]
        loss = network(input_ids=inputs, labels=torch.tensor(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    network.save_pretrained(folder)
    return folder
