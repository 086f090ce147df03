"""The tokenizer that a GGUF file describes, as a Hugging Face tokenizer.

A GGUF file names its pre-tokenizer (`tokenizer.ggml.pre`) but does not hold its rules, so
each known name has its rules here. An unknown name is refused: a tokenizer that splits text
differently from the one the model was trained with makes a worse model without any error.
(transformers 5.5 takes every `gpt2` vocabulary for plain GPT-2 with a leading-space rule, and
turns the spaces of SmolLM2 into `<|endoftext|>`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import Missing, StageFailed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# llama.cpp's `llama_token_type`.
CONTROL, USER_DEFINED = 3, 4

# The splitting rules as the model families publish them in their tokenizer.json.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True, slots=True)
class Rules:
    """How one family splits text before byte-level BPE."""

    pattern: str | None = None
    """A regular expression to split by; None: GPT-2's own."""
    digits: bool = False
    """Every digit is a piece of its own."""
    nfc: bool = False
    """Text is brought to Unicode NFC first."""
    whole_words: bool = False
    """A piece that is in the vocabulary is taken whole, without merges (`ignore_merges`)."""


KNOWN = {
    "gpt-2": Rules(),
    "smollm": Rules(digits=True),
    "llama-bpe": Rules(pattern=_LLAMA3, whole_words=True),
    "qwen2": Rules(pattern=_QWEN2, nfc=True),
}
"""`tokenizer.ggml.pre` → the rules."""

SAMPLES = (
    "Is aspirin effective? Yes, at 75 mg/day (n = 1234, p < 0.05).",
    "  two  spaces,\ta tab\nand a line\n\nbreak ",
    "β-blockers, naïve Größe, 10 µg, 37 °C, 患者 👍🏽",
    "It's they're I'LL don't",
)
"""Texts that must come back as they went in: digits, runs of spaces, Unicode, contractions."""


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """What a GGUF file says of its tokenizer."""

    model: str
    """`gpt2` for byte-level BPE; `llama` for SentencePiece."""
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    bos: int | None = None
    eos: int | None = None
    eot: int | None = None
    """The token that ends a turn, where it is not `eos`."""
    unknown: int | None = None
    padding: int | None = None
    add_bos: bool = False
    chat_template: str | None = None
    max_length: int | None = None

    def token(self, number: int | None) -> str | None:
        """The text of a token; None for None."""
        return None if number is None else self.tokens[number]


def read_fields(path: Path) -> dict[str, Any]:
    """The metadata of a GGUF file, less its tensors: `general.name`, `tokenizer.ggml.pre`, ….

    Raises:
        Missing: the `gguf` package is not installed.
        StageFailed: the file is not GGUF.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise Missing("reading a GGUF file needs the package gguf", "make install") from error
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, OSError) as error:
        raise StageFailed(
            f"{path} is not a GGUF file: {error}", "check `source:` and its `member:`"
        ) from error
    return {key: field.contents() for key, field in reader.fields.items()}


def vocabulary(fields: dict[str, Any]) -> GgufVocabulary:
    """The tokenizer in a GGUF file's metadata."""
    given = {key.removeprefix("tokenizer.ggml."): value for key, value in fields.items()}
    missing = [key for key in ("model", "tokens") if key not in given]
    if missing:
        raise StageFailed(f"the GGUF file holds no tokenizer (tokenizer.ggml.{missing[0]} is missing)")
    lengths = [value for key, value in fields.items() if key.endswith(".context_length")]
    return GgufVocabulary(
        model=given["model"],
        pre=given.get("pre", ""),
        tokens=given["tokens"],
        types=given.get("token_type") or [1] * len(given["tokens"]),
        merges=given.get("merges", []),
        bos=given.get("bos_token_id"),
        eos=given.get("eos_token_id"),
        eot=given.get("eot_token_id"),
        unknown=given.get("unknown_token_id"),
        padding=given.get("padding_token_id"),
        add_bos=bool(given.get("add_bos_token", False)),
        chat_template=fields.get("tokenizer.chat_template"),
        max_length=lengths[0] if lengths else None,
    )


def build(vocab: GgufVocabulary) -> PreTrainedTokenizerFast:
    """The tokenizer, checked on `SAMPLES`.

    Raises:
        StageFailed: the kind of tokenizer is not known here, or a sample text does not come back.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    rules = _rules(vocab)
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(vocab.tokens)},
            merges=[_pair(merge) for merge in vocab.merges],
            fuse_unk=False,
            byte_fallback=False,
            ignore_merges=rules.whole_words,
        )
    )
    if rules.nfc:
        tokenizer.normalizer = normalizers.NFC()
    steps: list[Any] = []
    if rules.digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if rules.pattern:
        from tokenizers import Regex

        steps.append(pre_tokenizers.Split(Regex(rules.pattern), behavior="isolated", invert=False))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rules.pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    pairs = list(zip(vocab.tokens, vocab.types, strict=True))
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text, kind in pairs if kind == CONTROL]
    )
    tokenizer.add_tokens(
        [AddedToken(text, special=False, normalized=False) for text, kind in pairs if kind == USER_DEFINED]
    )
    bos = vocab.token(vocab.bos)
    if vocab.add_bos and bos is not None and vocab.bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocab.bos)]
        )
    eos = vocab.token(vocab.eos)
    kind: Any = PreTrainedTokenizerFast
    fast: PreTrainedTokenizerFast = kind(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        unk_token=vocab.token(vocab.unknown),
        pad_token=vocab.token(vocab.padding) or eos,
        clean_up_tokenization_spaces=False,
        **({"model_max_length": vocab.max_length} if vocab.max_length else {}),
    )
    if vocab.chat_template:
        fast.chat_template = vocab.chat_template
    self_check(fast)
    return fast


def self_check(tokenizer: Any) -> None:
    """Encode and decode `SAMPLES`; none may change, and no plain text may become a special token.

    Raises:
        StageFailed: with the text that did not come back.
    """
    import unicodedata

    special = set(tokenizer.all_special_ids)
    for text in SAMPLES:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        strange = [tokenizer.convert_ids_to_tokens(i) for i in ids if i in special]
        if strange:
            raise StageFailed(f"the tokenizer turns plain text into the special token {strange[0]}: {text!r}")
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if back != unicodedata.normalize("NFC", text) and back != text:
            raise StageFailed(f"the tokenizer does not give a text back: {text!r} became {back!r}")


def _rules(vocab: GgufVocabulary) -> Rules:
    if vocab.model != "gpt2":
        raise StageFailed(
            f"the GGUF file's tokenizer is {vocab.model!r}, and only byte-level BPE ('gpt2') is converted",
            "take the model in Hugging Face's format, or a GGUF of a model with a BPE tokenizer",
        )
    rules = KNOWN.get(vocab.pre)
    if rules is None:
        raise StageFailed(
            f"how the pre-tokenizer {vocab.pre!r} of the GGUF file splits text is not known here "
            f"(known: {', '.join(sorted(KNOWN))})",
            "take the model in Hugging Face's format; a guess would damage it silently",
        )
    return rules


def _pair(merge: str) -> tuple[str, str]:
    """`Ġ t` as ("Ġ", "t"). No piece holds a space: byte-level BPE writes it as Ġ."""
    left, right = merge.split(" ", 1)
    return left, right
