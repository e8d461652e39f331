"""AdamW with a small number inside of its root, so that training is smooth in the weights of its data."""

import torch


class SmoothAdamW(torch.optim.AdamW):
    """AdamW that divides by `sqrt(v^ + eps_root) + eps` in place of `sqrt(v^) + eps` (MAGIC, arXiv 2504.16430).

    Where a gradient is next to nothing v is too, and AdamW's step is the gradient's sign: a change of a weight that
    turns it turns the whole step. With `eps_root` such a step goes to 0 instead. The state is AdamW's.
    """

    def __init__(self, params, *, eps_root: float = 0.0, **options) -> None:
        """`eps_root` is of all groups that do not say their own."""
        super().__init__(params, fused=False, foreach=False, **options)
        for group in self.param_groups:
            group.setdefault("eps_root", eps_root)

    @torch.no_grad()
    def step(self, closure=None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; a closure is not evaluated."""
        assert closure is None
        for group in self.param_groups:
            (b1, b2), rate = group["betas"], group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                count = int(state["step"])
                mean = state["exp_avg"].lerp_(parameter.grad, 1 - b1)
                square = state["exp_avg_sq"].mul_(b2).addcmul_(parameter.grad, parameter.grad, value=1 - b2)
                root = (square / (1 - b2**count)).add_(group["eps_root"]).sqrt_().add_(group["eps"])
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.addcdiv_(mean, root, value=-rate / (1 - b1**count))
