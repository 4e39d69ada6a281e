"""Built-in and bring-your-own data as `core.Data`. `DATA` is the catalogue."""

from .arrays import from_arrays, normalized
from .catalogue import DATA
from .citations import citations
from .digits import digits
from .graphs import Graph, from_graphs
from .grown import grown
from .medical import medical
from .molecules import molecule, molecules
from .notes import notes
from .own import cifar_binary, image_folder, medmnist, mnist_idx, npz
from .photographs import photographs
from .scanners import scanned, scanners, two_scanners
from .text import from_texts, jsonl
from .tokenizers import BytePairs, WordPieces, Words

__all__ = [
    "DATA",
    "BytePairs",
    "Graph",
    "WordPieces",
    "Words",
    "cifar_binary",
    "citations",
    "digits",
    "from_arrays",
    "from_graphs",
    "from_texts",
    "grown",
    "image_folder",
    "jsonl",
    "medical",
    "medmnist",
    "mnist_idx",
    "molecule",
    "molecules",
    "normalized",
    "notes",
    "npz",
    "photographs",
    "scanned",
    "scanners",
    "two_scanners",
]
