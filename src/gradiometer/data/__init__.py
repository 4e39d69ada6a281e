"""Built-in and bring-your-own data as `core.Data`. `DATA` is the catalogue."""

from .arrays import from_arrays, normalized
from .catalogue import DATA
from .digits import digits
from .medical import medical
from .own import cifar_binary, image_folder, medmnist, mnist_idx, npz
from .photographs import photographs
from .scanners import scanned, scanners, two_scanners

__all__ = [
    "DATA",
    "cifar_binary",
    "digits",
    "from_arrays",
    "image_folder",
    "medical",
    "medmnist",
    "mnist_idx",
    "normalized",
    "npz",
    "photographs",
    "scanned",
    "scanners",
    "two_scanners",
]
