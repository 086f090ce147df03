"""One update by verl's own FSDP engine and by ours, on the same rows: prints both as JSON.

Run as a program, since a process group and verl's platform belong to a whole process:
`python compare_engines.py MODEL KIND`, KIND being `actor` or `critic`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial
from typing import Any

os.environ |= {
    "VERL_PLATFORM": "cpu",
    "VERL_USE_EXTERNAL_MODULES": "residency.engines.verl.driver.platform",
    "RANK": "0",
    "WORLD_SIZE": "1",
}

import torch
import verl.workers.engine  # noqa: F401
from tensordict import TensorDict
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import (
    ActorConfig,
    CriticConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
)
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.utils.losses import ppo_loss, value_loss

TEMPERATURE = 0.8
ROWS = ((4, 5), (6, 3), (4, 7), (6, 1), (4, 2), (6, 6), (9, 4), (4, 5))
"""(prompt, answer) lengths. Prompts of one length are the same prompt; groups are interleaved."""


def nested(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def batch(vocabulary: int, micro: int) -> TensorDict:
    draw = torch.Generator().manual_seed(3)
    prompts_by_length: dict[int, torch.Tensor] = {}
    prompts, answers = [], []
    for prompt, answer in ROWS:
        drawn = torch.randint(3, vocabulary, (prompt,), generator=draw)
        prompts.append(prompts_by_length.setdefault(prompt, drawn))
        answers.append(torch.randint(3, vocabulary, (answer,), generator=draw))
    whole = [torch.cat(pair) for pair in zip(prompts, answers, strict=True)]
    masks = [torch.ones_like(answer) for answer in answers]
    masks[2][3:5] = 0  # what a tool said has no loss

    def floats(scale: float) -> torch.Tensor:
        return nested([torch.randn(len(a), generator=draw) * scale for a in answers])

    data = TensorDict(
        {
            "input_ids": nested(whole),
            "position_ids": nested([torch.arange(len(row)) for row in whole]),
            "prompts": nested(prompts),
            "responses": nested(answers),
            "response_mask": nested(masks),
            "loss_mask": nested(masks),
            "old_log_probs": nested([-6 + torch.randn(len(a), generator=draw) * 0.1 for a in answers]),
            "ref_log_prob": nested([-6 + torch.randn(len(a), generator=draw) * 0.1 for a in answers]),
            "advantages": floats(1.0),
            "values": floats(0.3),
            "returns": floats(1.0),
        },
        batch_size=len(ROWS),
    )
    tu.assign_non_tensor(
        data,
        temperature=TEMPERATURE,
        use_dynamic_bsz=False,
        use_remove_padding=False,
        use_fused_kernels=False,
        micro_batch_size_per_gpu=micro,
        calculate_entropy=True,
        global_batch_size=len(ROWS),
    )
    return data


def build(cls: type, model: str, kind: str) -> Any:
    engine = cls(
        HFModelConfig(
            path=model,
            use_remove_padding=False,
            enable_gradient_checkpointing=False,
            override_config={"attn_implementation": "sdpa"},
            model_type="language_model" if kind == "actor" else "value_model",
        ),
        FSDPEngineConfig(
            strategy="fsdp2",
            model_dtype="fp32",
            mixed_precision={"param_dtype": "fp32", "reduce_dtype": "fp32"},
            use_torch_compile=False,
        ),
        FSDPOptimizerConfig(lr=1e-2, total_training_steps=2, weight_decay=0.0),
        CheckpointConfig(),
    )
    torch.manual_seed(0)  # a critic's head is drawn
    engine.initialize()
    return engine


def update(engine: Any, kind: str, micro: int) -> dict[str, Any]:
    if kind == "actor":
        config: Any = ActorConfig(
            strategy="fsdp2",
            rollout_n=1,
            ppo_micro_batch_size_per_gpu=micro,
            use_kl_loss=True,
            kl_loss_coef=0.1,
            entropy_coeff=0.01,
        )
        loss = partial(ppo_loss, config=config)
    else:
        config = CriticConfig(strategy="fsdp2", ppo_micro_batch_size_per_gpu=micro)
        loss = partial(value_loss, config=config)
    vocabulary = engine.model_config.hf_config.vocab_size
    with engine.eval_mode():
        inferred = engine.infer_batch(batch(vocabulary, micro), loss_function=None)
    read = {
        name: [row[p - 1 : -1].tolist() for row, (p, _) in zip(rows.unbind(), ROWS, strict=True)]
        for name, rows in inferred["model_output"].items()
    }
    with engine.train_mode():
        trained = engine.train_batch(batch(vocabulary, micro), loss_function=loss)
    weights = [p.full_tensor().flatten() for p in engine.module.parameters()]
    return {
        "read": read,
        "loss": sum(trained["loss"]),
        "grad_norm": float(trained["metrics"]["grad_norm"]),
        "weights": torch.cat(weights).double().abs().sum().item(),
        "shared": engine._verdict if hasattr(engine, "_verdict") else None,
    }


def main() -> None:
    model, kind = sys.argv[1:]
    with tempfile.NamedTemporaryFile() as store:
        torch.distributed.init_process_group("gloo", init_method=f"file://{store.name}", rank=0, world_size=1)
        theirs = {
            "actor": transformer_impl.FSDPEngineWithLMHead,
            "critic": transformer_impl.FSDPEngineWithValueHead,
        }[kind]
        model_type = "language_model" if kind == "actor" else "value_model"
        ours = EngineRegistry.get_engine_cls(model_type, "fsdp2")
        assert ours is not theirs
        found = {
            name: update(build(cls, model, kind), kind, micro)
            for name, cls, micro in (("verl", theirs, 8), ("ours", ours, 8), ("ours, in two passes", ours, 4))
        }
        torch.distributed.destroy_process_group()
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
