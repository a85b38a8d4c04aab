"""URLs as people write them, and what in them is secret.

A URL goes into keys, references, compiled pipelines, logs and reports. So none may hold credentials, and what other
programs say about one is shown by `redacted`.
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
    """What in a URL is a secret, in words that don't repeat it; None if nothing looks like one."""
    _, _, rest = url.partition("//")
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        return "a user or a password before its host"
    for match in _PARAMETER.finditer(rest):
        if _is_secret(match[1]):
            return f"a signature, a token or a key (parameter {unquote(match[1])!r})"
    return None


def redacted(text: str) -> str:
    """Text with what looks like credentials in URLs taken out."""
    text = re.sub(r"//[^\s'\"]*@", "//…@", text)
    text = re.sub(r"[^\s'\"/=@]+:[^\s'\"/@]*@", "…@", text)
    return _PARAMETER.sub(lambda match: f"{match[1]}=…" if _is_secret(match[1]) else match[0], text)


def web(url: str) -> str:
    """An http(s) URL as it can be sent: no blank and no letter beyond ASCII in it.

    What can be sent as it is stays as it is, since a URL without checksum is part of a key.

    Raises:
        ValueError: it names no host, or one that can't be.
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
    """A gs:// or s3:// URL of an object: its name is taken as it is written.

    Raises:
        ValueError: it names no bucket or no object.
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
