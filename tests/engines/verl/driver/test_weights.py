"""Weights as they travel from training to the rollout."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from residency.engines.verl.driver.weights import Receiver, buckets, pack, unpack  # noqa: E402


class Tied(torch.nn.Module):
    """A model whose output layer is its input layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(4, 3)
        self.norm = torch.nn.LayerNorm(3)
        self.head = torch.nn.Linear(3, 4, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(()))


NAMES = ("embed.weight", "norm.weight", "norm.bias", "scale")


def weights(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, tensor) for name, tensor in model.state_dict().items() if name in NAMES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_comes_back_as_it_was(dtype: torch.dtype) -> None:
    for tensor in (torch.randn(3, 5), torch.randn(()), torch.arange(4)):
        back = unpack(pack("w", tensor, dtype))
        assert torch.equal(back, tensor.to(dtype) if tensor.is_floating_point() else tensor)
        assert back.shape == tensor.shape


def test_buckets_hold_about_the_limit_and_leave_out_what_is_skipped() -> None:
    source = iter([(f"w{i}", torch.zeros(10)) for i in range(5)])
    found = list(buckets(source, torch.float32, 80, frozenset(["w1"])))
    assert [[packed.name for packed in bucket] for bucket in found] == [["w0", "w2"], ["w3", "w4"]]
    assert next(source, None) is None


def test_a_model_takes_what_it_is_sent_tied_weights_once() -> None:
    source, target = Tied(), Tied()
    receiver = Receiver(target, loaded=False)
    with pytest.raises(RuntimeError, match="4 weights have not come"):
        receiver.require()
    for bucket in buckets(weights(source), torch.float32, 1, frozenset()):
        receiver.load(bucket)
    receiver.require()
    assert torch.equal(target.head.weight, source.embed.weight)
    assert target.head.weight is target.embed.weight


def test_a_weight_of_another_model_is_an_error() -> None:
    receiver = Receiver(Tied(), loaded=False)
    with pytest.raises(ValueError, match=r"no weight 'other\.weight'"):
        receiver.load([pack("other.weight", torch.zeros(2), torch.float32)])
    with pytest.raises(ValueError, match=r"\(9,\) in training and \(3,\) in the rollout"):
        receiver.load([pack("norm.bias", torch.zeros(9), torch.float32)])


def test_released_weights_take_no_memory_and_must_come_anew() -> None:
    model = Tied()
    receiver = Receiver(model, loaded=True)
    receiver.require()
    receiver.release()
    assert model.embed.weight.shape == (4, 3)
    assert model.embed.weight.untyped_storage().nbytes() == 4
    with pytest.raises(RuntimeError, match="have not come"):
        receiver.require()
    for bucket in buckets(weights(Tied()), torch.float32, 1 << 20, frozenset()):
        receiver.load(bucket)
    receiver.require()
