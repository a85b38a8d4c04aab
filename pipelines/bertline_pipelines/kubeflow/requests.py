"""Requests to Kubeflow's API: timeouts, retries after temporary errors, and failures as sentences.

After a failed connection and an error of `retries.may_pass` a request is repeated with growing pauses, at last with a
TransientError. Other failures are a UserError that says what to do.
"""

import email.utils
import re
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.auth
import urllib3

from bertline import retries
from bertline.addresses import is_here, redacted
from bertline.errors import TransientError, UserError
from bertline_pipelines import tls

TIMEOUT_S = (5.0, 30.0)
ATTEMPTS = 4
PORT_FORWARD = "kubectl -n kubeflow port-forward svc/ml-pipeline 8888:8888"


class RefusedError(UserError):
    """The server refused the request."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """A connection to one KFP server."""

    def __init__(
        self,
        endpoint: str,
        namespace: str,
        token: str | None,
        *,
        timeout_s: tuple[float, float],
        attempts: int,
    ) -> None:
        """Prepare; the first call sends the first request. The arguments are those of `Kubeflow`."""
        _check(endpoint)
        token = (token or "").strip()
        if not re.fullmatch(r"[!-~]*", token):  # the HTTP library would print it
            raise UserError("KFP_TOKEN isn't a token: it contains spaces, line breaks or non-ASCII characters")
        self.endpoint = endpoint.rstrip("/")
        self.attempts = attempts
        self.time = 0.0
        """Time of the last answer, in seconds since the epoch by the server's clock."""
        self._namespace, self._timeout_s = namespace, timeout_s
        self._session = requests.Session()
        self._session.trust_env = not is_here(endpoint)
        if token:
            self._session.auth = _Bearer(token)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        attempts: int | None = None,
    ) -> dict[str, Any]:
        """The answer to one request.

        Args:
            method: GET or POST.
            path: The path after `/apis/v2beta1/`.
            params: Parameters in the URL.
            body: Sent as JSON.
            attempts: The request is sent at most so often; None means as usual.
        """
        return retries.repeated(lambda: self._read(self._send(method, path, params, body)), attempts or self.attempts)

    def _send(
        self, method: str, path: str, params: dict[str, str] | None, body: dict[str, Any] | None
    ) -> requests.Response:
        where = f"{self.endpoint}/apis/v2beta1/{path}"
        try:
            # No redirects: they lead to login pages, and turn a POST into a GET.
            return self._session.request(
                method, where, params=params, json=body, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.exceptions.SSLError as error:
            match tls.fault(error):
                case tls.Fault.CONNECTION:
                    raise TransientError(
                        f"the connection to Kubeflow at {self.endpoint} broke off: {_short(error)}"
                    ) from error
                case tls.Fault.CERTIFICATE:
                    raise UserError(
                        f"the certificate of {self.endpoint} isn't trusted: {_short(error)}; set "
                        "REQUESTS_CA_BUNDLE to a file with its certificates"
                    ) from error
            raise UserError(
                f"{self.endpoint} doesn't speak https: {_short(error)}; try http, or another port"
            ) from error
        except requests.exceptions.ReadTimeout as error:
            raise TransientError(
                f"Kubeflow at {self.endpoint} took the request, but didn't answer for {self._timeout_s[1]:g} seconds"
            ) from error
        except requests.exceptions.RequestException as error:
            if isinstance(error, ValueError):
                raise UserError(f"{self.endpoint} can't be a KFP endpoint: {_short(error)}") from error
            reason = getattr(error.args[0], "reason", None) if error.args else None
            if isinstance(reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
                raise TransientError(
                    f"nothing answers at {self.endpoint}; check the address, and whether the port-forward runs: "
                    f"{PORT_FORWARD}"
                ) from error
            raise TransientError(f"the connection to Kubeflow at {self.endpoint} broke: {_short(error)}") from error

    def _read(self, answer: requests.Response) -> dict[str, Any]:
        """The document; raises what the status means."""
        status = answer.status_code
        self.time = _time(answer)
        try:
            document = answer.json()
        except ValueError:
            document = None
        said = str(answer.reason)
        if isinstance(document, dict):
            said = _short(document.get("message") or document.get("error") or said)
        if retries.may_pass(status):
            raise TransientError(
                f"Kubeflow at {self.endpoint} has a temporary problem ({status}): {said}",
                asked_s=retries.asked_s(answer.headers),
            )
        if status == 401 and self._session.auth:
            raise UserError(f"Kubeflow at {self.endpoint} refuses the token in KFP_TOKEN (401); it may have expired")
        if status == 401:
            raise UserError(f"Kubeflow at {self.endpoint} requires a token (401); set KFP_TOKEN in the environment")
        if status == 403:
            raise UserError(
                f"Kubeflow at {self.endpoint} doesn't permit this in namespace {self._namespace} (403): {said}; use "
                "another token in KFP_TOKEN, or ask for the permission"
            )
        if not isinstance(document, dict) or status < 200 or 300 <= status < 400:
            target = answer.headers.get("Location")
            place = f" but points to {_short(redacted(target))}" if target else " without JSON"
            raise UserError(
                f"{self.endpoint} isn't a KFP API: it answers {status}{place}. If it is a login page, set "
                "KFP_TOKEN; else give the address of the API: service ml-pipeline, port 8888"
            )
        if status >= 400:
            raise RefusedError(f"Kubeflow at {self.endpoint} refuses this ({status}): {said}", status)
        return document


class _Bearer(requests.auth.AuthBase):
    """The token in each request; not among the session's headers, which ~/.netrc overrides."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _check(endpoint: str) -> None:
    """Refuse what isn't an address."""
    try:
        address = urlsplit(endpoint)
        if address.scheme in ("http", "https") and address.hostname and "@" not in address.netloc:
            return
    except ValueError:  # for example an incomplete IPv6 address
        pass
    raise UserError(
        "a KFP endpoint looks like http://localhost:8888 or https://host/pipeline, without user or password, not "
        f"{redacted(endpoint)!r}"
    )


def _time(answer: requests.Response) -> float:
    """Time of an answer; by this machine's clock if the answer has none."""
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return time.time()


def _short(said: object) -> str:
    """A message on one line."""
    return " ".join(str(said).split())[:500]
