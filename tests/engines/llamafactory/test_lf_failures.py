from __future__ import annotations

import pytest

from residency.engines.llamafactory.failures import explain

TRACE = "Traceback (most recent call last):\n"
FRAME = '  File "/env/lib/python3.11/site-packages/llamafactory/data/converter.py", line 100, in __call__\n'
TORCHRUN = (
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    "=====\nRoot Cause (first observed failure):\n[0]:\n  rank      : 0\n  exitcode  : 1 (pid: 9)\n"
)

# As LLaMA-Factory 0.9.5 and PyTorch 2.13 print them.
CASES = [
    (
        TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total …",
        "the GPU ran out of memory (it asked for 2.00 GiB more)",
        "per_device_train_batch_size",
    ),
    (TRACE + FRAME + "KeyError: 'question'\n", "the rows of the dataset have no column question", "columns"),
    (
        TRACE + "ValueError: Template nosuch does not exist.\n",
        "LLaMA-Factory knows no template nosuch",
        "template",
    ),
    (
        TRACE + "ValueError: File /d/gone.json not found.\n",
        "the data file /d/gone.json is not there",
        "file_name",
    ),
    (
        TRACE + "ValueError: Some keys are not used by the HfArgumentParser: ['nosuchkey']\n",
        "LLaMA-Factory does not know the key 'nosuchkey'",
        "launch.py check",
    ),
    (
        TRACE
        + "ValueError: Target modules {'nope_proj'} not found in the base model. Please check the target",
        "the model has no module nope_proj",
        "lora_target",
    ),
    (
        TRACE + "RuntimeError: Cannot find valid samples, check `data/README.md` for the data format.\n",
        "no row of the dataset could be used",
        "formatting",
    ),
    (
        TRACE + "RuntimeError: Cannot find sufficient samples, consider increasing dataset size.\n",
        "there is too little text for one whole sequence: rows are joined, and a rest is dropped",
        "cutoff_len",
    ),
    (
        TRACE
        + "pyarrow.lib.ArrowInvalid: JSON parse error: "
        + "Column(/output) changed from string to number in row 6\n"
        + "During handling of the above exception, another exception occurred:\n"
        + TRACE
        + "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset\n",
        "a data file could not be read: Column(/output) changed from string to number in row 6",
        "one type in all rows",
    ),
    (
        TRACE
        + "RuntimeError: \n            Some tensors share memory, this will lead to duplicate memory on "
        "disk and potential differences when loading them again: "
        "[{'lm_head.weight', 'model.embed_tokens.weight'}].\n",
        "LLaMA-Factory cannot save this model whole: its output and its embeddings are one tensor",
        "lora",
    ),
    (
        TRACE + "IndexError: index out of range in self\n  0%|          | 0/4 [00:00<?, ?it/s]\n",
        "a token is outside of the model's vocabulary",
        "resize_vocab",
    ),
    (
        TRACE
        + TORCHRUN.replace("exitcode  : 1", "exitcode  : -9")
        + "  traceback : Signal 9 (SIGKILL) received",
        "the machine ran out of memory",
        "cutoff_len",
    ),
    (
        TRACE
        + "ImportError: bitsandbytes>=0.39.0 is needed\nTo fix: run `pip install bitsandbytes>=0.39.0`.\n",
        "a package that LLaMA-Factory needs has another version or is missing",
        "pip install bitsandbytes>=0.39.0",
    ),
    (
        TRACE + "ModuleNotFoundError: No module named 'deepspeed'\n",
        "the Python package deepspeed is not installed",
        "pip",
    ),
    (
        TRACE + "torch.distributed.DistNetworkError: … (errno: 98 - Address already in use).\n",
        "the port of the training processes is taken",
        "again",
    ),
    (TRACE + "OSError: [Errno 28] No space left on device\n", "the disk is full", "save_total_limit"),
    (
        TRACE + "ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu if …\n",
        "the recipe needs a GPU and there is none",
        "smoke",
    ),
]


@pytest.mark.parametrize(("log", "sentence", "hint"), CASES, ids=[case[1][:40] for case in CASES])
def test_known_causes(log: str, sentence: str, hint: str) -> None:
    said, advice = explain("loading file tokenizer.json\n" + log)
    assert said == sentence
    assert advice is not None
    assert hint in advice


def test_under_torchrun_the_root_cause_counts() -> None:
    log = (
        "[rank0]: "
        + TRACE
        + "[rank0]: RuntimeError: expected scalar type Float but found Half\n"
        + TRACE
        + TORCHRUN
    )
    assert explain(log)[0] == "RuntimeError: expected scalar type Float but found Half"


def test_a_warning_before_is_not_the_cause() -> None:
    log = "WARNING: No module named 'flash_attn'\n" + TRACE + "ValueError: something else\n"
    assert explain(log) == ("something else", None)


@pytest.mark.parametrize(("log", "said"), [("", "it printed nothing"), ("a\nKilled\n\n", "Killed")])
def test_without_a_traceback(log: str, said: str) -> None:
    assert explain(log)[0] == said


def test_a_template_of_another_model() -> None:
    log = (
        "[INFO|2026-01-01 00:00:00] llamafactory.data.template:144 >> Replace eos token: <|eot_id|>.\n"
        + TRACE
        + "IndexError: index out of range in self\n"
    )
    said, hint = explain(log)
    assert said == "a token is outside of the model's vocabulary"
    assert hint is not None
    assert "template does not fit this model" in hint


def test_a_message_that_begins_on_the_next_line() -> None:
    log = TRACE + "RuntimeError: \n            the cause itself\n100%|####| 4/4 [00:01<00:00,  3.98it/s]\n"
    assert explain(log)[0] == "RuntimeError: the cause itself"


def test_a_progress_bar_explains_nothing() -> None:
    assert explain("the cause\n100%|####| 4/4 [00:01<00:00,  3.98it/s]\n")[0] == "the cause"
