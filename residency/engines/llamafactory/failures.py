"""Why a training failed, in one sentence, from the end of its log."""

from __future__ import annotations

import re
from collections.abc import Callable

from residency.engines import log

Match = re.Match[str]


def _memory(m: Match) -> tuple[str, str]:
    asked = re.search(r"Tried to allocate ([\d.]+ [KMGT]iB)", m.string)
    return (
        "the GPU ran out of memory" + (f" (it asked for {asked[1]} more)" if asked else ""),
        "lower llamafactory.per_device_train_batch_size (and raise gradient_accumulation_steps), then "
        "llamafactory.cutoff_len; set llamafactory.deepspeed: zero3, or finetuning_type: lora",
    )


_VOCABULARY = (
    "the tokenizer does not fit the model; if tokens were added, set llamafactory.resize_vocab: true"
)
_NEW_TOKENS = re.compile(r"Replace eos token: (\S+?)\.\s|New tokens have been added")


# Looked for in this order; the first that the log shows is the cause. Each gives the sentence and the hint.
CAUSES: tuple[tuple[re.Pattern[str], Callable[[Match], tuple[str, str]]], ...] = (
    (re.compile(r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED"), _memory),
    (
        re.compile(
            r"DefaultCPUAllocator: can't allocate memory|MemoryError|exitcode: -9|Signal 9 \(SIGKILL\)"
        ),
        lambda m: (
            "the machine ran out of memory",
            "lower llamafactory.per_device_train_batch_size or cutoff_len, or take a smaller model",
        ),
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded|enforce fail at inline_container"),
        lambda m: (
            "the disk is full",
            "free some space, or lower llamafactory.save_total_limit; run the same command to go on",
        ),
    ),
    (
        re.compile(r"No module named '([\w.]+)'"),
        lambda m: (
            f"the Python package {m[1]} is not installed",
            f"make install, or pip install {m[1].split('.')[0]}",
        ),
    ),
    (
        re.compile(r"To fix: run `(pip install [^`]+)`"),
        lambda m: ("a package that LLaMA-Factory needs has another version or is missing", m[1]),
    ),
    (
        re.compile(r"Address already in use|EADDRINUSE"),
        lambda m: (
            "the port of the training processes is taken",
            "run the same command again: another is chosen",
        ),
    ),
    (
        re.compile(r"Undefined dataset (\S+) in"),
        lambda m: (f"the dataset {m[1]} is not in dataset_info.json", "add it there, or correct `dataset:`"),
    ),
    (
        re.compile(r"ValueError: File (\S+) not found"),
        lambda m: (f"the data file {m[1]} is not there", "correct `file_name` in dataset_info.json"),
    ),
    (
        re.compile(r"data/converter\.py\"[\s\S]*?KeyError: '([^']+)'"),
        lambda m: (
            f"the rows of the dataset have no column {m[1]}",
            "correct `columns` of its entry in dataset_info.json",
        ),
    ),
    (
        re.compile(r"ValueError: Template (\S+) does not exist"),
        lambda m: (f"LLaMA-Factory knows no template {m[1]}", "correct llamafactory.template"),
    ),
    (
        re.compile(r"(?:Cannot find valid samples|The dataset is empty|num_samples=0|There are no samples)"),
        lambda m: (
            "no row of the dataset could be used",
            "check its `columns`, `formatting` and that llamafactory.cutoff_len leaves room for the answer",
        ),
    ),
    (
        re.compile(r"Cannot find sufficient samples"),
        lambda m: (
            "there is too little text for one whole sequence: rows are joined, and a rest is dropped",
            "lower llamafactory.cutoff_len, give more text, or raise llamafactory.val_size "
            "(it may be the part kept for evaluation)",
        ),
    ),
    (
        re.compile(r"(?:ArrowInvalid|ArrowTypeError): ([^\n]+)(?=[\s\S]*DatasetGenerationError)"),
        lambda m: (
            "a data file could not be read: " + m[1].strip().removeprefix("JSON parse error: "),
            "each column must hold one type in all rows: mend the file, or filter it by a `data` stage",
        ),
    ),
    (
        re.compile(r"Some tensors share memory[^\n]*\{'lm_head\.weight', '[\w.]*embed_tokens\.weight'\}"),
        lambda m: (
            "LLaMA-Factory cannot save this model whole: its output and its embeddings are one tensor",
            "train the reward model with llamafactory.finetuning_type: lora, or take a model whose "
            "embeddings are not tied",
        ),
    ),
    (
        re.compile(r"Target modules? \{?'?(.+?)'?\}? not found in the base model"),
        lambda m: (
            f"the model has no module {m[1]}",
            "set llamafactory.lora_target: all, or name modules of this model",
        ),
    ),
    (
        re.compile(r"Some keys are not used by the HfArgumentParser: \[([^\]]*)\]"),
        lambda m: (
            f"LLaMA-Factory does not know the key {m[1]}",
            "run `launch.py check`: it says what was meant",
        ),
    ),
    (
        re.compile(
            r"(?:Repository Not Found|is not a local folder and is not a valid model identifier|"
            r"We couldn't connect to '?https?://\S+ to load|"
            r"Can't load (?:the )?(?:model|configuration|tokenizer))[^\n]*"
        ),
        lambda m: (
            "the model could not be loaded: " + m[0].strip(),
            "check llamafactory.model_name_or_path; without a network give the path of a local folder, "
            "for a gated model set env: {HF_TOKEN: ${secret:HF_TOKEN}}",
        ),
    ),
    (
        re.compile(
            r"Torch not compiled with CUDA|Found no NVIDIA driver|no CUDA-capable device|"
            r"Your setup doesn't support bf16/gpu|This device does not support `pure_bf16`"
        ),
        lambda m: (
            "the recipe needs a GPU and there is none",
            "run it with --profile smoke, or on a machine with a GPU",
        ),
    ),
    (
        re.compile(r"(?:Import|Value)Error: ([^\n]*(?:[Ff]lash[-_ ]?[Aa]tt)[^\n]*)"),
        lambda m: ("FlashAttention is not there: " + m[1].strip(), "set llamafactory.flash_attn: sdpa"),
    ),
    (
        re.compile(r"device-side assert triggered|index out of range in self"),
        lambda m: (
            "a token is outside of the model's vocabulary",
            _VOCABULARY,
        ),
    ),
    (
        re.compile(r"(?:does not have a chat template|chat_template is not set|Please specify `?template)"),
        lambda m: ("the tokenizer has no chat template", "set llamafactory.template"),
    ),
    (
        re.compile(r"NCCL (?:error|timeout)[^\n]*|Watchdog caught collective operation timeout[^\n]*"),
        lambda m: (
            "the GPUs lost contact with each other: " + m[0].strip(),
            "run the same command to go on; if it comes again, set env: {NCCL_DEBUG: INFO} and see log.txt",
        ),
    ),
)


def explain(text: str) -> tuple[str, str | None]:
    """A sentence and a hint.

    Args:
        text: The end of the log. A cause that is known is named in the recipe's words; else the last
            error of the traceback is given as it stands.
    """
    # Before the first traceback stand warnings, which name things that did no harm.
    start = text.find("Traceback (most recent call last)")
    said = text[start:] if start >= 0 else text
    for pattern, say in CAUSES:
        found = pattern.search(said)
        if found:
            sentence, hint = say(found)
            if hint == _VOCABULARY and _NEW_TOKENS.search(text):
                # A template brings its own end-of-turn tokens.
                return sentence, (
                    "llamafactory.template does not fit this model: it adds tokens that the model does not "
                    "have; name the model's own template, or set llamafactory.resize_vocab: true"
                )
            return sentence, hint
    return log.last_error(text) or log.last_line(text) or "it printed nothing", None
