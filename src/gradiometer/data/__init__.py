"""Built-in and bring-your-own data as `core.Data`. `DATA` is the catalogue."""

from .arrays import from_arrays, normalized
from .catalogue import DATA
from .digits import digits
from .medical import medical
from .notes import notes
from .own import cifar_binary, image_folder, medmnist, mnist_idx, npz
from .photographs import photographs
from .scanners import scanned, scanners, two_scanners
from .text import from_texts, jsonl
from .tokenizers import BytePairs, WordPieces, Words

__all__ = [
    "DATA",
    "BytePairs",
    "WordPieces",
    "Words",
    "cifar_binary",
    "digits",
    "from_arrays",
    "from_texts",
    "image_folder",
    "jsonl",
    "medical",
    "medmnist",
    "mnist_idx",
    "normalized",
    "notes",
    "npz",
    "photographs",
    "scanned",
    "scanners",
    "two_scanners",
]
