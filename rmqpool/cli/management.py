"""RabbitMQ's management API, read-only and optional: the only way to list. No redirects, no proxies.

https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

import base64
import json
import re
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

__all__ = ["Endpoint", "ManagementApi", "endpoint_of", "list_queues", "row_of"]

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
    if url is None and settings.socket_path is not None:
        raise ConfigurationError("behind an agent the management API is not known: name it with --management-url")
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


class ManagementApi:
    """One virtual host through the API; ``timeout`` in seconds for each request (None: 10), ``otherwise`` what else to do.

    Every method raises ReportedError that says what to do if the API does not answer. Thread-safe.
    """

    def __init__(
        self, settings: ConnectionSettings, url: str | None, timeout: float | None = None, otherwise: str = ""
    ) -> None:
        self._otherwise = otherwise
        self.endpoint = endpoint_of(settings, url)
        self._opener = _opener(settings)
        self._vhost = settings.vhost
        self._timeout = _TIMEOUT if timeout is None else timeout

    def queues(self, columns: str = "") -> list[dict[str, Any]]:
        """All queues; only these columns of them, if any are named (comma-separated)."""
        return self._pages("queues", columns)

    def exchanges(self) -> list[dict[str, Any]]:
        """All exchanges, the broker's own too."""
        return self._pages("exchanges", "name,type,durable,auto_delete,internal,arguments")

    def bindings(self) -> list[dict[str, Any]]:
        """All bindings, those of the default exchange too."""
        return self._list(f"/api/bindings/{self._quoted}")

    def queue(self, name: str) -> dict[str, Any] | None:
        """One queue; None if there is none. Its counts are as old as the broker's statistics."""
        try:
            told = self._get(f"/api/queues/{self._quoted}/{quote(name, safe='')}")
        except ReportedError as error:
            if error.facts.get("status") == 404:
                return None
            raise
        if not isinstance(told, dict) or told.get("name") != name:
            raise _not_management(self.endpoint)
        return told

    def unacknowledged(self, name: str) -> int | None:
        """Messages that are delivered and not acknowledged; None if there is no such queue, or nothing is counted.

        Read from the broker's own counters, past the statistics: at most one ``collect_statistics_interval`` (classic) or
        ``quorum_tick_interval`` old, 5 seconds each by default.
        """
        pattern = quote(f"^{re.escape(name)}$", safe="")
        named = f"page=1&page_size={_PAGE}&use_regex=true&name={pattern}"
        answer = self._get(f"/api/queues/{self._quoted}?{named}&disable_stats=true&enable_queue_totals=true")
        rows = answer.get("items", ()) if isinstance(answer, dict) else ()
        held = [row.get("messages_unacknowledged") for row in rows if row.get("name") == name]
        return held[0] if held and isinstance(held[0], int) else None

    def queue_bindings(self, name: str) -> list[dict[str, Any]]:
        """The bindings that end at a queue."""
        return self._list(f"/api/queues/{self._quoted}/{quote(name, safe='')}/bindings")

    def files_and_queues(self) -> tuple[list[int], int | None]:
        """How many files each node may open, if it tells, and how many queues there are in all virtual hosts."""
        nodes = [node.get("fd_total") for node in self._list("/api/nodes?columns=name,fd_total")]
        overview = self._get("/api/overview?columns=object_totals")
        queues = overview.get("object_totals", {}).get("queues") if isinstance(overview, dict) else None
        return [files for files in nodes if isinstance(files, int) and files > 0], queues

    @property
    def _quoted(self) -> str:
        return quote(self._vhost, safe="")

    def _pages(self, kind: str, columns: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        page = pages = 1
        while page <= pages:
            chosen = f"&columns={columns}" if columns else ""
            answer = self._get(f"/api/{kind}/{self._quoted}?page={page}&page_size={_PAGE}{chosen}")
            if not isinstance(answer, dict) or not {"items", "page_count"} <= answer.keys():
                raise _not_management(self.endpoint)
            rows.extend(answer["items"])
            pages = answer["page_count"]
            page += 1
        return rows

    def _list(self, path: str) -> list[dict[str, Any]]:
        answer = self._get(path)
        if not isinstance(answer, list):
            raise _not_management(self.endpoint)
        return answer

    def _get(self, path: str) -> Any:
        return _get(self._opener, self.endpoint, path, self._vhost, self._timeout, self._otherwise)


def list_queues(settings: ConnectionSettings, url: str | None, timeout: float | None) -> list[QueueRow]:
    """All queues of the virtual host, by name. Raises ReportedError that says what to do if the API does not answer."""
    otherwise = "; or name the queues: rmqpool queues NAME needs no plugin"
    rows = ManagementApi(settings, url, timeout, otherwise).queues(_COLUMNS)
    return sorted((row_of(item) for item in rows), key=lambda row: row.name)


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
    opener: urllib.request.OpenerDirector, endpoint: Endpoint, path: str, vhost: str, timeout: float, otherwise: str
) -> Any:
    credentials = base64.b64encode(f"{endpoint.user}:{endpoint.password.reveal()}".encode()).decode()
    request = urllib.request.Request(endpoint.base + path, headers={"Authorization": f"Basic {credentials}"})
    try:
        with opener.open(request, timeout=timeout) as answer:
            return json.loads(answer.read(_LARGEST))
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(endpoint, error.code, vhost, otherwise) from None
    except OSError as error:  # URLError and timeouts are OSErrors
        raise _unreachable(endpoint, error, otherwise) from None
    except ValueError:
        raise _not_management(endpoint) from None


def _unreachable(endpoint: Endpoint, error: OSError, otherwise: str) -> ReportedError:
    reason = getattr(error, "reason", error)
    told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return ReportedError(
        f"the management API at {endpoint.base} is not reachable ({told}): enable it (rabbitmq-plugins enable "
        f"rabbitmq_management), or name its address with --management-url{otherwise}",
        kind="ManagementError",
        exit_code=ExitCode.CONNECTION,
        facts={"management_url": endpoint.base},
    )


def _refused(endpoint: Endpoint, code: int, vhost: str, otherwise: str) -> ReportedError:
    what = {
        401: f"refused user {endpoint.user!r} (401): check the password, and give the user the tag management "
        f"(rabbitmqctl set_user_tags {endpoint.user} management){otherwise}",
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
