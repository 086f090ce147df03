"""What the hardware profiles set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from residency.engines.verl import hardware

SCHEMA = Path(__file__).resolve().parents[3] / "schemas" / "engines" / "verl-0.9.1.json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor: 0\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags : amx_bf16 amx_tile\n", True),
        ("Features : fp asimd bf16\n", True),
        ("flags : fpu avx512f\nbugs : bf16\n", False),
        ("", False),
    ],
)
def test_bf16_is_read_from_the_cpus_flags(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert hardware.multiplies_bf16(tmp_path / "cpuinfo") is expected


def test_no_cpuinfo_no_bf16(tmp_path: Path) -> None:
    assert not hardware.multiplies_bf16(tmp_path / "none")


def test_every_key_that_is_set_says_why() -> None:
    for profile in (
        hardware.cpu_settings(threads=4, ranks=2, given={"actor_rollout_ref.model.lora.rank": 8}),
        hardware.gpu_settings(gpus=2, given={"actor_rollout_ref.rollout.name": hardware.ROLLOUT}),
    ):
        assert profile.why.keys() == profile.defaults.keys() | profile.forced.keys()
        assert not profile.defaults.keys() & profile.forced.keys()


def test_precision_follows_the_cpu_and_lora_is_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(hardware, "multiplies_bf16", lambda bf16=bf16: bf16)
        profile = hardware.cpu_settings(threads=2, ranks=1, given={})
        assert profile.defaults["actor_rollout_ref.rollout.dtype"] == name
        assert "actor_rollout_ref.model.lora.merge" not in profile.forced
    given = {"actor_rollout_ref.model.lora_rank": 8}
    profile = hardware.cpu_settings(threads=2, ranks=1, given=given)
    assert profile.forced["actor_rollout_ref.model.lora.merge"] is True


def test_threads_are_shared_by_ranks_and_no_gpu_is_seen() -> None:
    env = hardware.cpu_env(threads=8, ranks=2)
    assert env["OMP_NUM_THREADS"] == "4"
    assert env["CUDA_VISIBLE_DEVICES"] == "-1,-1"


def test_keys_are_verls() -> None:
    known = json.dumps(json.loads(SCHEMA.read_text(encoding="utf-8")))
    profile = hardware.cpu_settings(threads=2, ranks=1, given={})
    for key in profile.defaults.keys() | profile.forced.keys():
        if "override_config" not in key and "ray_init" not in key and "mixed_precision" not in key:
            assert f'"{key.rsplit(".", 1)[-1]}"' in known, key


def test_a_gpu_without_flash_attention_has_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = "actor_rollout_ref.model.override_config.attn_implementation"
    monkeypatch.setattr(hardware, "lacks_flash_attention", lambda: False)
    assert chosen not in hardware.gpu_settings(gpus=1, given={}).forced
    assert hardware.gpu_env(given={}) == {}
    monkeypatch.setattr(hardware, "lacks_flash_attention", lambda: True)
    profile = hardware.gpu_settings(gpus=1, given={chosen: "flash_attention_2"})
    assert profile.forced[chosen] == "sdpa"
    assert profile.forced["critic.model.use_remove_padding"] is False
    assert any("flash-attn" in note for note in profile.notes)
    kept = hardware.gpu_settings(gpus=1, given={chosen: "eager"})
    assert chosen not in kept.forced
    assert "actor_rollout_ref.model.use_remove_padding" not in kept.forced
    env = hardware.gpu_env(given={"actor_rollout_ref.rollout.name": hardware.ROLLOUT})
    assert env["VERL_USE_EXTERNAL_MODULES"].split(",") == [hardware.ROLLOUT_PLUGIN, hardware.CRITIC_PLUGIN]
