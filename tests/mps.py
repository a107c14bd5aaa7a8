"""Tensors that stand for those on a Mac's GPU, which has no float64."""

import torch


class OnMps(torch.Tensor):
    """Refuses to become float64 before it has come to the processor."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.double:
            raise TypeError("the MPS framework doesn't support float64")
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else found
