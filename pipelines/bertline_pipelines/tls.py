"""What a failure of TLS means: a certificate that was refused is no connection that broke off."""

import enum
import re


class Fault(enum.Enum):
    """Whose fault it is."""

    CERTIFICATE = r"CERTIFICATE_VERIFY_FAILED|[Hh]ostname mismatch|doesn't match"
    """We refuse the server's certificate."""
    LOGIN = r"ALERT_\w*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)|ALERT_BAD_CERT|CERTIFICATE_REQUIRED"
    """The server refuses ours."""
    SETTINGS = r"X509|PEM|WRONG_VERSION_NUMBER|HTTP_REQUEST|UNSUPPORTED_PROTOCOL|HANDSHAKE_FAILURE|PROTOCOL_VERSION"
    """There is no TLS at that port, or none that both speak, or a file of certificates is none."""
    CONNECTION = r""
    """It broke off, as on a busy machine, and may be better the next time."""


def fault(error: Exception) -> Fault:
    """Whose fault a failure is, by OpenSSL's name of it, which all libraries quote."""
    return next(each for each in Fault if re.search(each.value, str(error)))
