"""A tiny model behind /v1/completions and /v1/chat/completions, greedy, in a thread of the test's process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from openai_stub import Answer, Stub


class TinyServer(Stub):
    """Answers with transformers what the model in a folder would answer, one request at a time."""

    def __init__(self, folder: Path, *, logprobs: bool = True, **more: Any) -> None:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        self.logprobs = logprobs
        self._one = threading.Lock()
        super().__init__(self._behave, **more)

    def _behave(self, path: str, body: dict[str, Any], before: int) -> Answer:
        import torch

        if path.endswith("chat/completions"):
            # As servers do: text, then tokens.
            written = self.tokenizer.apply_chat_template(
                body["messages"], tokenize=False, add_generation_prompt=True
            )
            prompt = self.tokenizer.encode(written, add_special_tokens=False)
        else:
            prompt = body["prompt"]
            prompt = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        with self._one, torch.no_grad():
            if body.get("echo"):
                return self._weighed(prompt)
            made = self.model.generate(
                torch.tensor([prompt]),
                max_new_tokens=body["max_tokens"],
                do_sample=False,
                stop_strings=body.get("stop"),
                tokenizer=self.tokenizer,
                pad_token_id=self.tokenizer.pad_token_id,
            )[0, len(prompt) :]
        text = self.tokenizer.decode(made, skip_special_tokens=True)
        ended = int(made[-1]) == self.tokenizer.eos_token_id
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if ended else "length"}
        choice |= (
            {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        )
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(made)}
        return Answer(body={"choices": [choice], "usage": usage})

    def _weighed(self, prompt: list[int]) -> Answer:
        import torch

        if not self.logprobs:
            return Answer(body={"choices": [{"text": "", "logprobs": None}]})
        values = self.model(torch.tensor([prompt])).logits[0].float().log_softmax(-1)
        chosen = [None, *(float(values[i, token]) for i, token in enumerate(prompt[1:]))]
        best = [None, *({str(int(v.argmax())): float(v.max())} for v in values[:-1])]
        words = [str(token) for token in prompt]
        inner = {"tokens": words, "token_logprobs": chosen, "top_logprobs": best}
        return Answer(body={"choices": [{"text": "", "logprobs": inner}]})
