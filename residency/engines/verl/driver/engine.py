"""verl's FSDP engines on a CPU: the same losses and log-probabilities from less computing.

They differ from verl's in how a micro-batch is laid out for the model (see `packing`) and in
which positions get logits; loss functions, optimiser and sharding are verl's. What the layout
cannot express (images, distillation, sliding windows, dropout) goes verl's own way.
"""

from __future__ import annotations

import inspect
import logging
from types import ModuleType
from typing import Any

import torch
import verl.utils.torch_functional as verl_F
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.model import extract_multi_modal_inputs

from residency.engines.verl.driver.packing import Layout, lay_out

_log = logging.getLogger(__name__)

_OTHER_WAYS = ("use_fused_kernels", "calculate_sum_pi_squared", "distillation_use_topk", "distillation_only")
"""What a micro-batch may ask for and the layout does not have."""

_TOLERANCE = 0.05
"""Largest relative difference of logits between shared and separate prompts in the trial. Rounding
in bfloat16 gives about 0.01; a model that ignores the mask gives about 1."""


def _flag(data: TensorDict, name: str) -> bool:
    return bool(tu.get_non_tensor_data(data=data, key=name, default=False))


class SharedPrompts:
    """Laid over one of verl's FSDP engines."""

    _verdict: bool | None = None

    def forward_backward_batch(self, data: TensorDict, loss_function: Any, forward_only: bool = False) -> Any:
        """verl's own, over rows sorted by prompt, so that a micro-batch holds whole groups.

        A loss is a sum over the mini-batch's rows, whatever their order; outputs are put back.
        """
        if _flag(data, "use_dynamic_bsz") or not self._applies(data):
            return super().forward_backward_batch(data, loss_function, forward_only)  # type: ignore[misc]
        prompts = [tuple(p.tolist()) for p in data["prompts"].unbind()]
        first = {prompt: index for index, prompt in reversed(list(enumerate(prompts)))}
        order = sorted(range(len(prompts)), key=lambda i: (first[prompts[i]], i))
        output = super().forward_backward_batch(  # type: ignore[misc]
            tu.index_select_tensor_dict(data, order), loss_function, forward_only
        )
        back = torch.tensor(order).argsort().tolist()
        for name, value in output.get("model_output", {}).items():
            rows = value.unbind()
            output["model_output"][name] = torch.nested.as_nested_tensor(
                [rows[i] for i in back], layout=torch.jagged
            )
        return output

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        """The model's arguments, and what is needed to read its output."""
        if not self._applies(micro_batch) or not self._model_can():
            return super().prepare_model_inputs(micro_batch)  # type: ignore[misc]
        layout = lay_out(
            micro_batch["prompts"].unbind(),
            micro_batch["responses"].unbind(),
            pairs_per_token=self._pairs_per_token(),
        )
        inputs: dict[str, Any] = {
            "input_ids": layout.input_ids,
            "attention_mask": layout.attention_mask,
            "position_ids": layout.position_ids,
        }
        if self._takes("logits_to_keep"):
            inputs["logits_to_keep"] = layout.keep
        return inputs, {"layout": layout}

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, torch.Tensor]:
        """Log-probabilities (or values) of answer tokens, nested as verl has them."""
        if "layout" not in output_args:
            return super().prepare_model_outputs(  # type: ignore[misc]
                output, output_args, micro_batch, logits_processor_func
            )
        layout: Layout = output_args["layout"]
        offsets = micro_batch["input_ids"].offsets()
        picked = output.logits[:, -layout.keep :][layout.rows, layout.columns]
        found = self._read(picked, layout, micro_batch)
        return {name: layout.spread(values, offsets) for name, values in found.items()}

    def _read(self, picked: torch.Tensor, layout: Layout, micro_batch: TensorDict) -> dict[str, torch.Tensor]:
        """What verl reads from the logits, (tokens, vocabulary), of the answer tokens' predictors."""
        temperature = micro_batch["temperature"]
        if isinstance(temperature, torch.Tensor):  # one a sequence
            lengths = micro_batch["responses"].offsets().diff()
            each = temperature.float().clamp(min=1e-8).repeat_interleave(lengths)
            picked = picked / each[:, None].to(picked.dtype)
        elif float(temperature) != 1.0:
            picked = picked / max(float(temperature), 1e-8)
        found = {"log_probs": verl_F.logprobs_from_logits(picked[None], layout.targets[None])[0]}
        if _flag(micro_batch, "calculate_entropy"):
            found["entropy"] = verl_F.entropy_from_logits(picked)
        return found

    # ------------------------------------------------------------ when it applies

    def _applies(self, data: TensorDict) -> bool:
        """Whether the layout can express what a batch asks for."""
        return (
            not getattr(self, "use_remove_padding", False)
            and all(name in data for name in ("prompts", "responses", "position_ids"))
            and data["prompts"].is_nested
            and data["position_ids"].dim() == 2
            and not any(_flag(data, name) for name in _OTHER_WAYS)
            and not extract_multi_modal_inputs(data.get("multi_modal_inputs", []))
            and bool((data["responses"].offsets().diff() > 0).all())
        )

    def _model_can(self) -> bool:
        """Whether the model gives the same logits for shared and for separate prompts.

        Asked of its configuration, then tried once: an architecture may treat a mask in a way
        of its own.
        """
        if self._verdict is None:
            self._verdict = _attends_to_all(self.module.config) and self._trial()  # type: ignore[attr-defined]
            if not self._verdict:
                _log.warning(
                    "this model's attention does not allow shared prompts: each answer repeats its own"
                )
        return self._verdict

    @torch.no_grad()
    def _trial(self) -> bool:
        vocabulary = self.module.config.get_text_config().vocab_size  # type: ignore[attr-defined]
        tokens = torch.randint(vocabulary, (3, 6), generator=torch.Generator().manual_seed(0))
        prompt, answers = tokens[0], [tokens[1], tokens[2][:4]]
        layout = lay_out([prompt, prompt], answers, pairs_per_token=1e9)
        dtype = getattr(self, "_autocast_dtype", torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = self.module(  # type: ignore[attr-defined]
                input_ids=layout.input_ids,
                attention_mask=layout.attention_mask,
                position_ids=layout.position_ids,
                use_cache=False,
            )
            shared = output.logits[:, -layout.keep :][layout.rows, layout.columns].float()
            alone = []
            for answer in answers:
                ids = torch.cat([prompt, answer])[None]
                output = self.module(input_ids=ids, use_cache=False)  # type: ignore[attr-defined]
                alone.append(output.logits[0, len(prompt) - 1 : -1].float())
        separate = torch.cat(alone)
        return bool((shared - separate).norm() <= _TOLERANCE * separate.norm())

    def _pairs_per_token(self) -> float:
        """Pairs of tokens that attention handles in the time of one token of everything else.

        A layer spends about 24 h² operations on a token (h: hidden size) and 4 h on a pair.
        """
        return 6.0 * float(self.module.config.get_text_config().hidden_size)  # type: ignore[attr-defined]

    def _takes(self, argument: str) -> bool:
        model = getattr(self.module, "base_model", self.module)  # type: ignore[attr-defined]
        model = getattr(model, "model", model) if hasattr(self.module, "peft_config") else self.module  # type: ignore[attr-defined]
        return argument in inspect.signature(model.forward).parameters


class _SharedValues(SharedPrompts):
    """The same for a critic: values in the place of logits."""

    def _read(self, picked: torch.Tensor, layout: Layout, micro_batch: TensorDict) -> dict[str, torch.Tensor]:
        return {"values": picked.squeeze(-1)}


def _attends_to_all(config: Any) -> bool:
    """Whether, by its configuration, every layer is plain causal attention, without dropout."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    windowed = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    chunked = getattr(text, "attention_chunk_size", None)
    dropout = any(
        isinstance(value, (int, float)) and value > 0
        for name, value in text.to_dict().items()
        if "dropout" in name or name.endswith("pdrop")
    )
    implementation = getattr(text, "_attn_implementation", "sdpa")
    return (
        kinds == {"full_attention"}
        and not windowed
        and not chunked
        and not dropout
        and implementation in ("sdpa", "eager")
    )


def register(transformer_impl: ModuleType) -> None:
    """Register the engines of verl's module `transformer_impl`, so changed, for device `cpu`."""
    from verl.workers.engine.base import EngineRegistry

    for model_type, change, engine in (
        ("language_model", SharedPrompts, transformer_impl.FSDPEngineWithLMHead),
        ("value_model", _SharedValues, transformer_impl.FSDPEngineWithValueHead),
    ):
        made = type(f"CPU{engine.__name__}", (change, engine), {"__doc__": engine.__doc__})
        EngineRegistry.register(model_type=model_type, backend=["fsdp2"], device="cpu")(made)
