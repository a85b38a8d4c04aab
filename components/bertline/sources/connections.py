"""HTTP sessions for downloads; divides their errors into temporary ones and ones that the user has to correct.

Logins come from ~/.netrc, as in curl, or from `BERTLINE_NETRC`, which contains the content of such a file, for pods.
Proxies and certificates: HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, REQUESTS_CA_BUNDLE.
"""

import contextlib
import http.client
import netrc
import os
import ssl
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.auth
import urllib3

from bertline import retries
from bertline.addresses import redacted
from bertline.errors import UserError

NETRC = "BERTLINE_NETRC"
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class PassingError(Exception):
    """What may go better the next time."""

    def __init__(self, reason: str, asked_s: float = 0.0) -> None:
        super().__init__(reason)
        self.asked_s = asked_s
        """Seconds until then, as the server says."""


@contextlib.contextmanager
def session() -> Iterator[requests.Session]:
    """A session for one download; it keeps cookies and connections between tries."""
    with requests.Session() as opened:
        opened.mount("https://", _Adapter())
        if os.environ.get(NETRC):
            opened.auth = _Logins(os.environ[NETRC])
        yield opened


def refuse(url: str, answer: requests.Response) -> NoReturn:
    """Raise the error for an answer without the file."""
    status = answer.status_code
    said = f"{status} {redacted(str(answer.reason or _phrase(status)))}"
    if retries.may_pass(status):
        raise PassingError(f"the server says {said}", retries.asked_s(answer.headers))
    host = urlsplit(answer.url).hostname
    match status:
        case 407:
            what = "that is the proxy's: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT in the environment gives it a login"
        case 401:
            what = f"give a login, {_login(host)}; or download the file and give its path"
        case 403:
            what = (
                f"access is denied: check the URL, give a login, {_login(host)}; or download the file and give its path"
            )
        case 404 | 410:
            what = "there is no such file: correct the URL"
        case _:
            what = "that isn't a file: check the URL, or download the file and give its path"
    raise UserError(f"{url}: the server says {said}; {what}")


def _login(host: str | None) -> str:
    """How to give a login, as a part of a message."""
    return (
        f"a line `machine {host} login NAME password PASSWORD` in ~/.netrc, or for pods in a Kubernetes secret that "
        f"the profile's `secrets` names for {NETRC}"
    )


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""


def explain(url: str, error: Exception) -> NoReturn:
    """Raise the error for a failed connection, without the libraries' messages, which may contain signed URLs."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UserError(
                f"{url}: the certificate of the server isn't trusted, {cause.verify_message}; set SSL_CERT_FILE "
                "to a file with its certificates"
            ) from error
    if "407" in str(error) and isinstance(error, requests.exceptions.ProxyError):
        raise UserError(
            f"{url} can't be downloaded: the proxy requires another login (407); "
            "HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT in the environment gives one"
        ) from error
    if isinstance(error, requests.TooManyRedirects):
        raise UserError(f"{url} redirects without end; correct the URL") from error
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):  # InvalidURL, …
        raise UserError(f"{url} can't be downloaded: {_short(error)}; correct the URL") from error
    last = causes[-1]
    if isinstance(last, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError):
        raise PassingError("the server doesn't answer") from error
    if isinstance(last, urllib3.exceptions.IncompleteRead | http.client.IncompleteRead):
        raise PassingError("the connection broke") from error
    reason = (last.strerror if isinstance(last, OSError) else None) or f"{type(last).__name__}: {_short(last)}"
    raise PassingError(f"the connection failed ({reason})") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it: requests wraps urllib3's errors, which wrap Python's."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        inner = [each for each in (getattr(found, "reason", None), *found.args) if isinstance(each, BaseException)]
        found = inner[0] if inner else found.__cause__


def _short(error: BaseException) -> str:
    text = str(error).rpartition(": ")[2] if isinstance(error, urllib3.exceptions.HTTPError) else str(error)
    return redacted(" ".join(text.split()))[:200]


class _Adapter(requests.adapters.HTTPAdapter):
    """Trusts this machine's certificates and those of requests."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> Any:
        return super().init_poolmanager(*arguments, **options, ssl_context=ssl.create_default_context())

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*arguments, **options, ssl_context=ssl.create_default_context())


class _Logins(requests.auth.AuthBase):
    """Logins by host, from the content of a netrc file."""

    def __init__(self, content: str) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="bertline-", encoding="utf-8") as file:  # netrc reads only files
            file.write(content)
            file.flush()
            try:
                self._found = netrc.netrc(file.name)
            except netrc.NetrcParseError as error:
                raise UserError(
                    f"{NETRC} isn't a netrc (line {error.lineno}): it has a line "
                    "`machine HOST login NAME password PASSWORD` for each host"
                ) from None  # the parser's message contains the content

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if found := self._found.authenticators(urlsplit(request.url or "").hostname or ""):
            requests.auth.HTTPBasicAuth(found[0], found[2] or "")(request)
        return request
