"""The metrics by name, with their cards."""

from gradiometer.numerics.ranking import auc

from .graph import exact_graph, exact_graph_card, gsm, gsm_card
from .identification import identification_card, identification_rank
from .image import mse, mse_card, psnr, psnr_card, ssim, ssim_card
from .labels import label_overlap, label_overlap_card
from .presence import auc_card
from .score_words import word_overlap, word_overlap_card
from .text import rouge_l, rouge_l_card, rouge_n, rouge_n_card, token_accuracy, token_accuracy_card

METRICS = {
    "auc": (auc, auc_card),
    "exact_graph": (exact_graph, exact_graph_card),
    "gsm": (gsm, gsm_card),
    "identification": (identification_rank, identification_card),
    "label_overlap": (label_overlap, label_overlap_card),
    "mse": (mse, mse_card),
    "psnr": (psnr, psnr_card),
    "rouge_l": (rouge_l, rouge_l_card),
    "rouge_n": (rouge_n, rouge_n_card),
    "ssim": (ssim, ssim_card),
    "token_accuracy": (token_accuracy, token_accuracy_card),
    "word_overlap": (word_overlap, word_overlap_card),
}
