"""Connecting to the socket of a ``rmqpool agent``: each sentence says what happened to which socket, and what to do next."""

from __future__ import annotations

import errno

from rmqpool.errors import AuthenticationError, ConnectionFailedError

__all__ = ["agent_failed", "agent_timed_out"]

_STEPS = {
    errno.ENOENT: "no such socket: start the agent (rmqpool agent --socket {path}), or correct the path",
    errno.ECONNREFUSED: "nothing listens there any more: start the agent again (rmqpool agent --socket {path})",
    errno.EACCES: "permission denied: join the group that the socket belongs to, or start the agent with --group and "
    "--mode 0660",
    errno.EPERM: "permission denied: join the group that the socket belongs to, or start the agent with --group and "
    "--mode 0660",
    errno.ENOTDIR: "a part of the path is no folder: correct the path",
    errno.ENOTSOCK: "that is no socket: correct the path",
    errno.EPROTOTYPE: "that socket is of another kind: correct the path",
}
_REFUSED = 403  # AMQP's access-refused


def agent_failed(
    error: BaseException | None, stage: str, path: str, broker_close: tuple[int, str] | None
) -> ConnectionFailedError:
    """No connection through the agent at ``path``. ``broker_close``: code and text with which the agent closed it."""
    if broker_close is not None:
        code, text = broker_close
        if code == _REFUSED:
            return AuthenticationError(
                f"the agent at {path} does not let this process in: {text}", host=path, stage="amqp"
            )
        sentence = f"the agent at {path} closed the connection while it opened: {code} {text}"
        return ConnectionFailedError(sentence, host=path, stage="amqp")
    if stage == "tcp":
        number = error.errno if isinstance(error, OSError) else None
        step = _STEPS.get(number or 0, f"{error}: is the agent running?").format(path=path)
        return ConnectionFailedError(f"cannot connect to the agent at {path}: {step}", host=path, stage="tcp")
    why = str(error).strip() or type(error).__name__
    return ConnectionFailedError(
        f"the agent at {path} ended the handshake ({why}): is it a socket of `rmqpool agent`, or is it just stopping?",
        host=path,
        stage="amqp",
    )


def agent_timed_out(stage: str, seconds: float, path: str) -> ConnectionFailedError:
    """A stage of connecting took longer than its own timeout."""
    if stage == "tcp":
        what = f"the agent at {path} accepts no connection within {seconds:g} s: it is overloaded, or hangs; look at its log"
    else:
        what = (
            f"the agent at {path} did not finish the handshake within {seconds:g} s: is it overloaded? Look at its log"
        )
    return ConnectionFailedError(what, host=path, stage=stage)
