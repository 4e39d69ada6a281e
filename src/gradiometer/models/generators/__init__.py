"""Training generators on public pictures: `train_prior`. What a generator is, and its files, are in `numerics.generators`."""

from .gan import train_dcgan, train_wgan_gp
from .prior import METHODS, train_prior

__all__ = ["METHODS", "train_dcgan", "train_prior", "train_wgan_gp"]
