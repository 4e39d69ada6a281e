"""A Flower grid without a network: every message is answered at once, in this process."""

import itertools
from types import SimpleNamespace

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity


class LocalGrid(Grid):
    """Hands messages to the client app of each node at once; as in Flower, what a client raises becomes an error reply."""

    def __init__(self, app, nodes: int) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
        self.app, self.count, self.ready = app, itertools.count(1), {}
        self.contexts = {i: Context(1, i, {"partition-id": i}, RecordDict(), {}) for i in range(nodes)}

    run = property(lambda self: SimpleNamespace(run_id=1))

    def set_run(self, run_id) -> None: ...

    def create_message(self, *_, **__):
        raise NotImplementedError

    def get_nodes(self):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        return [self._pushed(message) for message in messages]

    def pull_messages(self, message_ids):
        return [self.ready.pop(i) for i in message_ids]

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(list(messages)))

    def _pushed(self, message):
        node, name = message.metadata.dst_node_id, f"message {next(self.count)}"
        message.metadata.__dict__["_message_id"] = name
        try:
            reply = self.app(message, self.contexts[node])
        except Exception as error:
            reply = Message(Error(code=2, reason=repr(error)), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        self.ready[name] = reply
        return name
