"""The metrics by name, with their cards."""

from gradiometer.numerics.ranking import auc

from .identification import identification_card, identification_rank
from .image import mse, mse_card, psnr, psnr_card, ssim, ssim_card
from .labels import label_overlap, label_overlap_card
from .presence import auc_card

METRICS = {
    "auc": (auc, auc_card),
    "identification": (identification_rank, identification_card),
    "label_overlap": (label_overlap, label_overlap_card),
    "mse": (mse, mse_card),
    "psnr": (psnr, psnr_card),
    "ssim": (ssim, ssim_card),
}
