"""Causes of TLS errors: a refused certificate, or a connection that broke."""

import enum
import re


class Fault(enum.Enum):
    """The cause of a TLS error."""

    CERTIFICATE = r"CERTIFICATE_VERIFY_FAILED|[Hh]ostname mismatch|doesn't match"
    """We don't trust the server's certificate."""
    LOGIN = r"ALERT_\w*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)|ALERT_BAD_CERT|CERTIFICATE_REQUIRED"
    """The server refuses our certificate."""
    SETTINGS = r"X509|PEM|WRONG_VERSION_NUMBER|HTTP_REQUEST|UNSUPPORTED_PROTOCOL|HANDSHAKE_FAILURE|PROTOCOL_VERSION"
    """No TLS at that port, no common version, or a broken certificate file."""
    CONNECTION = r""
    """The connection broke; trying again may help."""


def fault(error: Exception) -> Fault:
    """The cause of an error, by OpenSSL's name for it, which all libraries quote."""
    return next(each for each in Fault if re.search(each.value, str(error)))
