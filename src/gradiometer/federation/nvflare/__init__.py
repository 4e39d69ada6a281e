"""gradiometer inside NVFlare: filters for clients, in a job or of a site. Needs the extra `nvflare`."""

from gradiometer.core import Unsupported

try:
    import nvflare.apis.dxo_filter  # noqa: F401
except ModuleNotFoundError as error:
    raise Unsupported("this needs NVFlare, which is not installed", fix='pip install "gradiometer[nvflare]"') from error

from .defend import Defend
from .record import Record
from .self_audit import SelfAudit

__all__ = ["Defend", "Record", "SelfAudit"]
