"""Generators: maps from a normal latent vector to a picture. Attacks search in their latent space, audits look at what they can show."""

from .decoders import convolutional, perceptron
from .diffusion import train_diffusion
from .files import load_generator, save_generator
from .generator import Generator, GeneratorCard, fingerprints
from .oracle import inverted
from .sampler import Diffusion, diffusion_of
from .vae import train_vae

__all__ = [
    "Diffusion",
    "Generator",
    "GeneratorCard",
    "convolutional",
    "diffusion_of",
    "fingerprints",
    "inverted",
    "load_generator",
    "perceptron",
    "save_generator",
    "train_diffusion",
    "train_vae",
]
