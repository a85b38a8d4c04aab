"""Checks URLs, and finds secrets in them.

A URL is in keys, references, compiled pipelines, logs and reports. So it must not contain credentials, and messages of
other programs about URLs go through `redacted`.
"""

import re
from urllib.parse import quote, unquote, urlsplit

_PARAMETER = re.compile(r"(?<=[?&;#])([^\s'\"=?&;#]+)=([^\s'\"&;#]+)")
_SECRET_NAME = re.compile(
    r"signature|token|secret|passw|credential|hmac|jwt|(key|keyid|auth|authorization|accessid|sessionid|policy)$"
    r"|(^|[-_])(sig|sign|sas|pwd|pass)$",
    re.IGNORECASE,
)


def secret(url: str) -> str | None:
    """A description of the secret in a URL; None if there is none."""
    _, _, rest = url.partition("//")
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        return "a user or a password before its host"
    for match in _PARAMETER.finditer(rest):
        if _is_secret(match[1]):
            return f"a signature, a token or a key (parameter {unquote(match[1])!r})"
    return None


def redacted(text: str) -> str:
    """The text without credentials in URLs."""
    text = re.sub(r"//[^\s'\"]*@", "//…@", text)
    text = re.sub(r"[^\s'\"/=@]+:[^\s'\"/@]*@", "…@", text)
    return _PARAMETER.sub(lambda match: f"{match[1]}=…" if _is_secret(match[1]) else match[0], text)


def web(url: str) -> str:
    """An http(s) URL, with blanks and non-ASCII characters escaped.

    A URL that needs no escapes doesn't change, because a URL without checksum is part of a key.

    Raises:
        ValueError: the host is missing or invalid.
    """
    match = re.fullmatch(r"(https?)://([^/?#]*)(.*)", url, re.IGNORECASE | re.DOTALL)
    if not match:
        raise ValueError("a URL looks like https://host/path")
    scheme, place, rest = match.groups()
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
        if not host or re.search(r"[\s%<>\"]", host):
            raise ValueError("no host")
        if not host.isascii():
            import idna

            place = idna.encode(host, uts46=True).decode() + (f":{port}" if port else "")
    except ValueError as error:  # idna's too
        raise ValueError("host and port can't be read from this URL; it looks like https://host:port/path") from error
    return f"{scheme.lower()}://{place}" + re.sub(r"[^!-~]+", lambda found: quote(found[0]), rest)


def stored(url: str) -> str:
    """A gs:// or s3:// URL of an object, without changes.

    Raises:
        ValueError: the bucket or the object is missing.
    """
    match = re.fullmatch(r"(gs|s3)://([^/?#\s]+)/(.*[^/])", url, re.IGNORECASE | re.DOTALL)
    if not match:
        raise ValueError("the URL of an object looks like gs://bucket/path/of/it, or s3://")
    return f"{match[1].lower()}://{match[2]}/{match[3]}"


def is_here(url: str) -> bool:
    """Whether a URL, or what begins with a host, leads to this machine, as a port-forward does. No proxy can."""
    return urlsplit(url if "//" in url else f"//{url}").hostname in ("localhost", "127.0.0.1", "::1")


def path(uri: str) -> str:
    """The path of a `file:` URI, which may be a relative one."""
    place = uri[len("file:") :].removeprefix("//")
    return unquote(place.removeprefix("localhost") if place.startswith("localhost/") else place)


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(unquote(name)) is not None
