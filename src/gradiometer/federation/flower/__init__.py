"""gradiometer inside Flower: mods for clients, and a strategy for servers. Needs the extra `flower`."""

from gradiometer.core import Unsupported

try:
    import flwr.app  # noqa: F401
except ModuleNotFoundError as error:
    raise Unsupported("this needs Flower, which is not installed", fix='pip install "gradiometer[flower]"') from error

from .apps import client_app, server_app
from .defend import Defend
from .mask import Mask
from .record import Record
from .recording import Recording
from .secure_grid import SecureGrid
from .self_audit import SelfAudit

__all__ = ["Defend", "Mask", "Record", "Recording", "SecureGrid", "SelfAudit", "client_app", "server_app"]
