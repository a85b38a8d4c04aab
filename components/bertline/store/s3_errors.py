"""An S3 server's errors as sentences that say what to do.

A status of 403 can mean a missing permission, a wrong clock, an expired session or a full bucket. The code in the
answer's body distinguishes them.
"""

import datetime
import re
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as boto

from bertline import retries
from bertline.addresses import redacted
from bertline.errors import BertlineError, TransientError, UserError
from bertline.store.objects import ConflictError, NotFoundError, OutageError

KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidSecurity"}
SESSION = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
PERMISSION = {"AccessDenied", "AccessDeniedException", "Forbidden", "Unauthorized", "UnauthorizedAccess", ""}
PASSING = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "OperationAborted"}
THROTTLED = re.compile(r"SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|BandwidthLimitExceeded")
CLOCK = re.compile(r"TooSkewed|RequestExpired|RequestHasExpired|RequestNotYetValid|RequestInTheFuture")
CLOCK_SAID = re.compile(r"request time and the (current|server)|clock skew|skewed|request has expired", re.IGNORECASE)
FULL = re.compile(r"quota|storage ?full|insufficient ?(storage|capacity)|storage cap|disk full", re.IGNORECASE)


def explain(error: boto.ClientError, uri: str, bucket: str, where: str) -> BertlineError:
    """The error to raise in place of botocore's.

    Args:
        error: Botocore's error.
        uri: URI of the store.
        bucket: Name of the bucket.
        where: URI of the object.
    """
    named, status, said = code(error), status_of(error), short(error)
    # An answer without a body, for example to HEAD, has no code; then the client uses the status.
    key = "" if named.isdecimal() else named
    if named == "NoSuchBucket":
        return UserError(
            f"store {uri}: bucket {bucket!r} doesn't exist; create it with `aws s3 mb s3://{bucket}` or correct the "
            "name"
        )
    if named == "NoSuchUpload":
        return OutageError(f"the upload of {where} was interrupted")
    if key in SESSION:
        return UserError(
            f"the session of the credentials for {uri} has ended or isn't valid: {said}; sign in again and set "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN from the new session (keys that are not of "
            "a session need no AWS_SESSION_TOKEN: unset it)"
        )
    if CLOCK.search(key) or (status == 403 and CLOCK_SAID.search(said)):
        return OutageError(f"{where} was refused because of the time: {said}; {_clocks(error)}")
    if key in KEYS:
        return UserError(
            f"the credentials for {uri} aren't accepted: {said}; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "and AWS_SESSION_TOKEN if they are of a session"
        )
    if key in REGION:
        return UserError(f"{where} was refused: {said}; set AWS_REGION to the bucket's region")
    if FULL.search(key) or status == 507 or (status == 403 and FULL.search(said)):
        return OutageError(
            f"bucket {bucket!r} takes no more ({where}): {said}; raise its quota, or delete unneeded objects "
            "(`bertline store gc` lists them)"
        )
    if retries.may_pass(status) or key in PASSING or THROTTLED.search(key):
        return OutageError(f"can't reach {where} now: {said}")
    if status == 404:
        return NotFoundError(f"{where} is not there")
    if status in (409, 412):
        return ConflictError(f"{where} isn't in the expected state")
    if status in (401, 403) and key in PERMISSION:
        return UserError(
            f"no permission for {where}: {said}; this account needs s3:ListBucket, s3:GetObject, s3:PutObject and "
            f"s3:DeleteObject on bucket {bucket!r}"
        )
    return UserError(f"{where} was refused: {said}")


def overwritten(where: str) -> TransientError:
    """An object changed while it was read."""
    return TransientError(f"{where} was overwritten while it was read; run the same command again")


def code(error: boto.ClientError) -> str:
    """The server's error code; the status if the answer has no body."""
    return str(error.response.get("Error", {}).get("Code") or "")


def status_of(error: boto.ClientError) -> int:
    """HTTP status; 0 if there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def short(error: Exception) -> str:
    """The error on one line, without passwords in URLs."""
    text = str(error)
    if isinstance(error, boto.ClientError):
        text = f"{code(error)}: {error.response.get('Error', {}).get('Message', '')}"
    return redacted(" ".join(text.split()))[:300] or type(error).__name__


def _clocks(error: boto.ClientError) -> str:
    """What to do about a wrong clock, with the difference if the answer contains it."""
    again = "set this machine's clock (NTP does it automatically)"
    headers: dict[str, Any] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    now = datetime.datetime.now(datetime.UTC)
    try:
        theirs = parsedate_to_datetime(str(headers.get("date", "")))
        ahead = (now - theirs).total_seconds()
    except (ValueError, TypeError):
        return f"this machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC; {again}"
    if abs(ahead) < 60:
        return (
            f"this machine's clock agrees with the server's ({now:%Y-%m-%d %H:%M:%S} UTC), so the request was under "
            "way for too long"
        )
    amount = datetime.timedelta(seconds=round(abs(ahead)))
    return f"this machine's clock is {amount} {'ahead of' if ahead > 0 else 'behind'} the server's; {again}"
