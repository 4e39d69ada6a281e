"""The data sets by name, with their cards."""

from .citations import citations, citations_card
from .digits import digits, digits_card
from .grown import grown, grown_card
from .medical import medical, medical_card
from .molecules import molecules, molecules_card
from .notes import notes, notes_card
from .own import (
    cifar_binary,
    cifar_binary_card,
    image_folder,
    image_folder_card,
    medmnist,
    medmnist_card,
    mnist_idx,
    mnist_idx_card,
    npz,
    npz_card,
)
from .photographs import photographs, photographs_card
from .scanners import scanners, scanners_card
from .text import jsonl, jsonl_card

DATA = {
    "medical": (medical, medical_card),
    "photographs": (photographs, photographs_card),
    "scanners": (scanners, scanners_card),
    "digits": (digits, digits_card),
    "image_folder": (image_folder, image_folder_card),
    "npz": (npz, npz_card),
    "mnist_idx": (mnist_idx, mnist_idx_card),
    "cifar_binary": (cifar_binary, cifar_binary_card),
    "medmnist": (medmnist, medmnist_card),
    "notes": (notes, notes_card),
    "jsonl": (jsonl, jsonl_card),
    "grown": (grown, grown_card),
    "molecules": (molecules, molecules_card),
    "citations": (citations, citations_card),
}
TEXTS = ("notes", "jsonl")
"""Of these, the sentences."""
GRAPHS = ("grown", "molecules", "citations")
"""And the graphs."""
