"""The three kinds of store, by their URI."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from bertline import addresses
from bertline.errors import UserError
from bertline.store.objects import ObjectStore


def connect(uri: str) -> ObjectStore:
    """The store at `file:///dir`, a plain path, `gs://bucket[/prefix]` or `s3://bucket[/prefix]`.

    Raises:
        UserError: the scheme isn't known, or the URI is incomplete.
    """
    if "://" in uri and addresses.secret(uri):  # the message doesn't repeat the URI, because it may go into a log
        raise UserError(
            "a store's URI must not contain credentials; give gs://bucket/prefix or s3://bucket/prefix, and the "
            "credentials in the environment (GOOGLE_APPLICATION_CREDENTIALS, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY)"
        )
    try:
        parts = urlsplit(uri)
    except ValueError as error:  # for example an incomplete IPv6 address
        raise UserError(f"store {uri}: {error}; give a directory, or a bucket such as gs://my-bucket") from error
    if not uri.strip() or (parts.scheme == "file" and not parts.path):
        raise UserError(f"store {uri!r} is incomplete; give a directory (out/store) or a bucket (gs://my-bucket)")
    match parts.scheme:
        case "" | "file":
            from bertline.store.filesystem import FileSystemStore

            if parts.netloc not in ("", "localhost"):
                raise UserError(f"store {uri}: a file URI has three slashes: file:///data/store")
            return FileSystemStore(Path(unquote(parts.path) if parts.scheme else uri))
        case "gs":
            from bertline.store.gcs import GoogleCloudStore

            return GoogleCloudStore(parts.netloc, parts.path.strip("/"))
        case "s3":
            from bertline.store.s3 import S3Store

            return S3Store(parts.netloc, parts.path.strip("/"))
        case scheme:
            raise UserError(f"store {uri}: unknown scheme {scheme!r}; use file://, gs:// or s3://")
