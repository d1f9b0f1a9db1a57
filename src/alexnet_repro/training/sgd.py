"""The paper's update rule (§6) and the layers' own learning rates."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from alexnet_repro.base.build import Fraction, NonNegative

Layer = Annotated[str, Field(pattern=r"^(conv|local|fc)\d+$|^others$")]


class PaperSGD(Optimizer):
    """Stochastic gradient descent with momentum, written as in §6:

        v ← momentum · v − weight_decay · ε · w − ε · ∂L/∂w
        w ← w + v

    The learning rate ε is inside the velocity v, so steps taken before ε was divided keep their
    size while they fade. ``torch.optim.SGD`` keeps ε outside: there the whole velocity shrinks at
    once. The two agree for as long as ε is constant.

    Updates are in place and batched over all tensors that share ε and weight decay: no temporary
    of the size of the model is made. Where torch has a kernel for it, an update is one pass over
    the memory instead of four.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for w, state in self.state.items():
            # A checkpoint of another arrangement may store it in another memory format.
            if "velocity" in state and _here(state["velocity"], w).stride() != _here(w, w).stride():
                state["velocity"] = torch.empty_like(w).copy_(state["velocity"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for (lr, momentum, weight_decay, *_), weights in self._alike().items():
            gradients = [_here(w.grad, w) for w in weights if w.grad is not None]
            velocities = [_here(self._velocity(w), w) for w in weights]
            weights = [_here(w, w) for w in weights]
            if momentum and _alike_in_memory(weights, gradients, velocities):
                # v ← momentum · v + (1 - dampening) · (∂L/∂w + weight_decay · w), w ← w - lr · v
                # It would copy gradients that are not in the order of their memory.
                torch._fused_sgd_(
                    *([_in_order(x) for x in one] for one in (weights, gradients, velocities)),
                    weight_decay=weight_decay,
                    momentum=momentum,
                    lr=-1.0,
                    dampening=1 + lr,
                    nesterov=False,
                    maximize=False,
                    is_first_step=False,
                )
                continue
            torch._foreach_mul_(velocities, momentum)
            if weight_decay:
                torch._foreach_add_(velocities, weights, alpha=-weight_decay * lr)
            torch._foreach_add_(velocities, gradients, alpha=-lr)
            torch._foreach_add_(weights, velocities)
        return loss

    def _alike(self) -> dict[tuple[Any, ...], list[Tensor]]:
        """The weights that have a gradient, by what one call has to share."""
        alike: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        for group in self.param_groups:
            constants = group["lr"], group["momentum"], group["weight_decay"]
            for w in group["params"]:
                if w.grad is not None:
                    alike[(*constants, w.device, w.dtype)].append(w)
        return alike

    def _velocity(self, w: Tensor) -> Tensor:
        state = self.state[w]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(w, memory_format=torch.preserve_format)
        velocity: Tensor = state["velocity"]
        return velocity


def _here(spread: Any, like: Any) -> Tensor:
    """The part of a distributed tensor that is on this device, split as ``like`` is.

    It shares the memory of ``spread``, unless that is split in another way; a tensor of this device
    alone is whole.
    """
    if not hasattr(spread, "to_local"):  # of DTensor, which takes a second to import
        return spread  # type: ignore[no-any-return]
    if spread.placements != like.placements:
        spread = spread.redistribute(placements=like.placements)
    return spread.to_local()  # type: ignore[no-any-return]


def _in_order(tensor: Tensor) -> Tensor:
    """A view of the same memory in its own order, where that is channels last."""
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if last else tensor


def _alike_in_memory(*lists: list[Tensor]) -> bool:
    """Whether torch's kernel, which goes through the memory of the lists in step, takes them."""
    return all(
        one.device.type in ("cpu", "cuda")
        and one.dtype == first.dtype in (torch.float32, torch.float64)
        and one.stride() == first.stride()
        for first, *others in zip(*lists, strict=True)
        for one in (first, *others)
    )


def paper_sgd(
    network: nn.Module,
    lr: NonNegative | Mapping[Layer, NonNegative] = 0.01,
    momentum: Fraction = 0.9,
    weight_decay: NonNegative | Mapping[Layer, NonNegative] = 0.0005,
    bias_lr: NonNegative | None = None,
    bias_weight_decay: bool = True,
) -> PaperSGD:
    """A :class:`PaperSGD` with a parameter group for every weight and every bias of the network.

    Groups carry ``name`` (``conv1.weight``, ...) and ``scheduled``: whether a schedule that
    divides the learning rate of the weights divides this one too.

    Args:
        network: its named parameters are trained.
        lr: ε of the weights.
        momentum, weight_decay: the constants of the update rule. ε and weight decay are by layer if
            they are mappings, in which ``others`` names all layers not named.
        bias_lr: ε of the biases, which then stays as it is when that of the weights is divided (the
            2012 program); None for the ε of the weights at all times (the paper).
        bias_weight_decay: whether biases decay too (the paper), or weights only (the program).

    Raises:
        ValueError: if ``lr`` names layers, and not ``others``.
    """
    groups = []
    rates, decays = (
        one if isinstance(one, Mapping) else {"others": one} for one in (lr, weight_decay)
    )
    if "others" not in rates:
        raise ValueError("lr: add others, the learning rate of the layers that are not named")
    for name, parameter in network.named_parameters():
        is_bias = name.endswith("bias")
        layer = name.rpartition(".")[0]
        rate, decay = (of.get(layer, of.get("others", 0.0)) for of in (rates, decays))
        own_lr = is_bias and bias_lr is not None
        groups.append(
            {
                "params": [parameter],
                "name": name,
                "lr": bias_lr if own_lr else rate,
                "weight_decay": decay if bias_weight_decay or not is_bias else 0.0,
                "scheduled": not own_lr,
            }
        )
    return PaperSGD(groups, momentum=momentum)
