"""Where a training computes."""

from __future__ import annotations

import torch

from hardware.errors import ConfigError


def usable_device(name: str, *, where: str) -> torch.device:
    """Find a device, and try it.

    Args:
        name: as Torch names it: cpu, cuda, cuda:1.
        where: who asks, for the message.

    Returns:
        The device.

    Raises:
        ConfigError: there is none of that name, or nothing can be put on it.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]})",
            where=where,
            expected="cpu, or cuda where Torch finds a GPU",
            mend="correct --device, or install the GPU build of Torch",
        ) from None
    return device
