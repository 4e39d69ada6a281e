"""gradiometer inside Flower: mods for clients, and a strategy for servers. Needs the extra `flower`."""

from gradiometer.core import Unsupported

try:
    import flwr.app  # noqa: F401
except ModuleNotFoundError as error:
    raise Unsupported("this needs Flower, which is not installed", fix='pip install "gradiometer[flower]"') from error

from .apps import client_app, server_app
from .defend import Defend
from .record import Record
from .recording import Recording
from .self_audit import SelfAudit

__all__ = ["Defend", "Record", "Recording", "SelfAudit", "client_app", "server_app"]
