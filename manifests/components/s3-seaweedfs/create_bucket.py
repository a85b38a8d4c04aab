"""Creates a bucket where there is none, and tries out whether the server is one that the store can use.

Usage: create_bucket.py BUCKET [PATIENCE_S]

Server and credentials come from the environment, as for the store itself. A server that isn't up yet, or doesn't know
its users yet, is waited for.
"""

import os
import sys
import time
import uuid

import botocore.session
from botocore import exceptions as boto
from botocore.config import Config

from bertline.errors import BertlineError, TransientError
from bertline.store import backends

PAUSE_S = 2.0


def create(bucket: str, patience_s: float) -> bool:
    """Create the bucket; False if it was there.

    Raises:
        TransientError: the server didn't answer, or didn't accept the credentials, in all the time.
    """
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 1})
    region = os.environ.get("AWS_REGION", "us-east-1")
    client = botocore.session.Session().create_client("s3", region_name=region, config=config)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            client.create_bucket(Bucket=bucket)
            return True
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            return False  # if it is somebody else's, the first write says so
        except (boto.ClientError, boto.BotoCoreError) as error:
            if time.monotonic() > deadline:
                raise TransientError(f"bucket {bucket!r} couldn't be created in {patience_s:.0f} s: {error}") from error
            time.sleep(PAUSE_S)
        finally:
            client.close()


def try_out(bucket: str) -> None:
    """Write and delete an object, on the condition that there is none: the store's first write tries out the server."""
    store = backends.connect(f"s3://{bucket}")
    name = f".bucket-{uuid.uuid4().hex}"
    store.create(name, b"")
    store.delete(name)


def main() -> int:
    """The exit code."""
    bucket = sys.argv[1]
    try:
        is_new = create(bucket, float(sys.argv[2]) if len(sys.argv) > 2 else 180.0)
        try_out(bucket)
    except BertlineError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.write(f"bucket {bucket} {'created' if is_new else 'was there'}; its server keeps conditional writes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
