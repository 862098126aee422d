"""RabbitMQ's management API, read-only and optional: the only way to list queues. No redirects, no proxies.

https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.cli.queue_rows import QueueRow
from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret

if TYPE_CHECKING:
    from rmqpool.settings import ConnectionSettings

__all__ = ["Endpoint", "endpoint_of", "list_queues", "row_of"]

_TIMEOUT = 10.0  # seconds for each page
_PAGE = 500  # queues; the API's own limit
_LARGEST = 64 * 1024 * 1024  # bytes of one answer
_COLUMNS = "name,type,messages,messages_ready,messages_unacknowledged,consumers,state"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is, without credentials, and whose name to ask in."""

    base: str
    user: str
    password: Secret


def endpoint_of(settings: ConnectionSettings, url: str | None) -> Endpoint:
    """From ``--management-url``, or the broker's first host: port 15672, with TLS 15671. Pure. ConfigurationError."""
    if url is None:
        host = settings.hosts[0][0]
        shown = f"[{host}]" if ":" in host else host
        base = f"https://{shown}:15671" if settings.tls else f"http://{shown}:15672"
        return Endpoint(base, settings.user, settings.password)
    wrong = ConfigurationError("--management-url must be http://host:15672 or https://host:15671")
    try:
        parts = urlsplit(url)
        named, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not named or not url.isprintable() or " " in url:
        raise wrong
    host = named
    shown = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    password = settings.password if parts.password is None else Secret(unquote(parts.password))
    return Endpoint(base, unquote(parts.username) if parts.username else settings.user, password)


def list_queues(settings: ConnectionSettings, url: str | None, timeout: float | None) -> list[QueueRow]:
    """All queues of the virtual host, by name. Raises ReportedError that says what to do if the API does not answer."""
    endpoint = endpoint_of(settings, url)
    opener = _opener(settings)
    rows: list[QueueRow] = []
    page = pages = 1
    while page <= pages:
        path = f"/api/queues/{quote(settings.vhost, safe='')}?page={page}&page_size={_PAGE}&columns={_COLUMNS}"
        answer = _get(opener, endpoint, path, settings.vhost, _TIMEOUT if timeout is None else timeout)
        rows.extend(row_of(item) for item in answer["items"])
        pages = answer["page_count"]
        page += 1
    return sorted(rows, key=lambda row: row.name)


def row_of(item: dict[str, Any]) -> QueueRow:
    """A queue as the API describes it; counts are absent until statistics were gathered. Pure."""
    state = item.get("state") or "there"
    return QueueRow(
        name=item["name"],
        ready=item.get("messages_ready"),
        consumers=item.get("consumers"),
        messages=item.get("messages"),
        unacked=item.get("messages_unacknowledged"),
        type=item.get("type"),
        state=state,
        problem=f"state {state}" if state in ("down", "crashed", "stopped", "minority") else "",
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the password to another place."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener(settings: ConnectionSettings) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if settings.tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=settings.tls.context()))
    return urllib.request.build_opener(*handlers)


def _get(
    opener: urllib.request.OpenerDirector, endpoint: Endpoint, path: str, vhost: str, timeout: float
) -> dict[str, Any]:
    credentials = base64.b64encode(f"{endpoint.user}:{endpoint.password.reveal()}".encode()).decode()
    request = urllib.request.Request(endpoint.base + path, headers={"Authorization": f"Basic {credentials}"})
    try:
        with opener.open(request, timeout=timeout) as answer:
            value = json.loads(answer.read(_LARGEST))
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(endpoint, error.code, vhost) from None
    except OSError as error:  # URLError and timeouts are OSErrors
        raise _unreachable(endpoint, error) from None
    except ValueError:
        raise _not_management(endpoint) from None
    if not isinstance(value, dict) or not {"items", "page_count"} <= value.keys():
        raise _not_management(endpoint)
    return value


def _unreachable(endpoint: Endpoint, error: OSError) -> ReportedError:
    reason = getattr(error, "reason", error)
    told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return ReportedError(
        f"the management API at {endpoint.base} is not reachable ({told}): enable it (rabbitmq-plugins enable "
        "rabbitmq_management), name its address with --management-url, or name the queues: rmqpool queues NAME "
        "needs no plugin",
        kind="ManagementError",
        exit_code=ExitCode.CONNECTION,
        facts={"management_url": endpoint.base},
    )


def _refused(endpoint: Endpoint, code: int, vhost: str) -> ReportedError:
    what = {
        401: f"refused user {endpoint.user!r} (401): check the password, and give the user the tag management "
        f"(rabbitmqctl set_user_tags {endpoint.user} management), or name the queues: rmqpool queues NAME",
        404: f"knows no virtual host {vhost!r} (404), or is no management API: check --vhost and --management-url",
    }.get(code, f"answered {code}: check --management-url")
    exit_code = ExitCode.CONNECTION if code == 401 else ExitCode.REFUSED
    return ReportedError(
        f"the management API at {endpoint.base} {what}",
        kind="ManagementError",
        exit_code=exit_code,
        facts={"status": code},
    )


def _not_management(endpoint: Endpoint) -> ReportedError:
    return ReportedError(
        f"{endpoint.base} answered, but not as RabbitMQ's management API does: check --management-url",
        kind="ManagementError",
        exit_code=ExitCode.REFUSED,
        facts={"management_url": endpoint.base},
    )
