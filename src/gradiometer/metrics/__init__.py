"""Figures of merit, one value an example. `METRICS` is the catalogue; `score` is where truth meets guess."""

from .baselines import blind_pictures
from .card import MetricCard
from .catalogue import METRICS
from .graph import exact_graph, gsm
from .identification import identification_rank
from .image import mse, pixels, psnr, ssim
from .labels import label_overlap
from .presence import PresenceScore, score_presence
from .score import ExampleScore, LabelScore, score, score_labels
from .score_graph import GraphScore, blind_graphs, score_graph
from .score_text import TextScore, blind_sentences, score_text
from .score_words import WordScore, score_words
from .text import in_common, rouge_l, rouge_n, token_accuracy

__all__ = [
    "METRICS",
    "ExampleScore",
    "GraphScore",
    "LabelScore",
    "MetricCard",
    "PresenceScore",
    "TextScore",
    "WordScore",
    "blind_graphs",
    "blind_pictures",
    "blind_sentences",
    "exact_graph",
    "gsm",
    "identification_rank",
    "in_common",
    "label_overlap",
    "mse",
    "pixels",
    "psnr",
    "rouge_l",
    "rouge_n",
    "score",
    "score_graph",
    "score_labels",
    "score_presence",
    "score_text",
    "score_words",
    "ssim",
    "token_accuracy",
]
