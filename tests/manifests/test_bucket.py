"""The bucket's script, as the job runs it, against the object store as KFP runs it."""

import subprocess
import sys

import pytest


@pytest.fixture
def create(manifests):
    """Run the script; code, stdout, stderr."""

    def run(environment, *arguments, patience_s="20"):
        script = manifests / "components/s3-seaweedfs/create_bucket.py"
        command = [sys.executable, script, *arguments, patience_s]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_bucket_is_made_and_made_again(create, kfp_user):
    for deed in ("created", "was there"):
        assert create(kfp_user, "bertline") == (0, f"bucket bertline {deed}; its server keeps conditional writes\n", "")


def test_it_leaves_nothing_in_the_bucket(create, kfp_user):
    from botocore.session import Session

    assert create(kfp_user, "empty")[0] == 0
    client = Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=kfp_user["AWS_ENDPOINT_URL"],
        aws_access_key_id=kfp_user["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=kfp_user["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        assert client.list_objects_v2(Bucket="empty")["KeyCount"] == 0
    finally:
        client.close()


def test_wrong_keys_are_one_sentence_and_worth_another_try(create, kfp_user):
    # KFP makes its user after the server is up, so a key that isn't known may be known soon.
    wrong = kfp_user | {"AWS_SECRET_ACCESS_KEY": "something-else"}
    code, out, err = create(wrong, "bertline", patience_s="0")
    assert (code, out) == (75, "")
    assert err.startswith("bucket 'bertline' couldn't be created in 0 s: ")
    assert "SignatureDoesNotMatch" in err
    assert "something-else" not in err
    assert err.count("\n") == 1


def test_a_server_that_isnt_there_is_one_sentence(create, kfp_user):
    code, out, err = create(kfp_user | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "bertline", patience_s="0")
    assert (code, out) == (75, "")
    assert "http://127.0.0.1:9/bertline" in err
    assert err.count("\n") == 1


def test_a_bucket_that_cant_be_named_so_is_refused(create, kfp_user):
    code, _, err = create(kfp_user, "Not_A_Bucket", patience_s="0")
    assert code == 75
    assert "Not_A_Bucket" in err
