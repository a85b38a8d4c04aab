"""What the checks say of a place, of its store and of its images."""

import json
import os
import re
import time

import pytest

from bertline.errors import ExitCode, UserError
from bertline.store.filesystem import FileSystemStore
from bertline_pipelines.doctor import checks, findings, probes
from bertline_pipelines.images import catalogue
from bertline_pipelines.places import profiles


def bad(texts):
    return [each for each in texts if each[1] != "ok"]


def test_a_place_where_all_is_there(place, gs_uri):
    found = place.examine()
    assert bad(found) == []
    texts = {}
    for name, _, text in found:
        texts.setdefault(name, []).append(text)
    assert list(texts) == [
        *("kubeflow", "cluster", "namespace", "permissions", "account", "retries", "secret", "pull secret", "nodes"),
        *("storage class", "quota", "store", "images"),
    ]
    assert max(map(len, texts)) == checks.WIDTH
    assert re.search(r"2\.16\.1 at http.*token in KFP_TOKEN is accepted", texts["kubeflow"][0])
    assert "context kind-bertline" in texts["cluster"][0]
    assert "keys has access, hmac" in texts["secret"]
    assert "pretrain: node gpu-1 can take it; 1 of 2 nvidia.com/gpu are free" in texts["nodes"]
    assert f"{gs_uri} at http://127.0.0.1" in texts["store"][0]
    assert re.search(r"\d+ ms to write; pods use http://gcs.kubeflow:4443, which can't be tested", texts["store"][0])
    assert texts["images"] == [f"4 are in {place.registry.host}/bertline"]
    assert findings.exit_code(place.last) == ExitCode.OK


def test_a_bucket_that_may_only_be_read(place, before_the_store, emulator):
    refusal = json.dumps({"error": {"code": 403, "message": "no storage.objects.create access"}}).encode()

    def refuse(request):
        is_write = request.command in ("POST", "PUT")
        return (403, {"Content-Type": "application/json"}, refusal) if is_write else None

    place.set("STORAGE_EMULATOR_HOST", before_the_store(refuse))
    ((name, state, text),) = bad(place.examine())
    assert (name, state) == ("store", "failed")
    assert "can be listed, but something else fails: no permission for gs://" in text
    assert "roles/storage.objectAdmin" in text
    place.set("STORAGE_EMULATOR_HOST", emulator)


@pytest.mark.parametrize(("condition", "fault"), [("0", "created twice"), (r"[1-9]\d*", "replaced with an outdated")])
def test_a_store_that_does_not_keep_conditional_writes(place, before_the_store, emulator, condition, fault):
    def forget(request):
        request.path = re.sub(rf"ifGenerationMatch={condition}\b", "x=y", request.path)

    place.set("STORAGE_EMULATOR_HOST", before_the_store(forget))
    ((name, state, text),) = bad(place.examine())
    assert (name, state) == ("store", "failed")
    assert f"an object was {fault}" in text
    assert "conditional writes" in text
    place.set("STORAGE_EMULATOR_HOST", emulator)


def test_public_images_of_a_registry_that_gives_everybody_a_pass(place):
    place.registry.door = "token"
    assert bad(place.examine()) == []


def test_images_that_are_loaded_into_the_nodes(place):
    place.profile["images"] = {"registry": ""}
    wanted = [("corpus", "cpu"), ("pretrain", "cuda"), ("evaluate", "cpu"), ("report", "cpu")]
    names = [{"names": [f"localhost/{catalogue.reference('', image, variant)}"]} for image, variant in wanted]
    for each in place.api.objects["/api/v1/nodes"]:
        each["status"]["images"] = names
    found = place.examine()
    assert bad(found) == []
    assert ("images", "ok", "4 are loaded on cpu-1, gpu-1") in found


def test_credentials_come_from_the_secret_and_are_not_looked_for_without_a_cluster(place, monkeypatch):
    monkeypatch.setenv("DOCTOR_TEST_KEY", "here")
    place.profile["store"]["secret"] = {"name": "keys", "keys": {"DOCTOR_TEST_KEY": "access"}}
    place.profile["kubeflow"]["context"] = "gke"
    assert not [each for each in bad(place.examine()) if each[0] == "store"], "they are in the environment"
    monkeypatch.delenv("DOCTOR_TEST_KEY")
    (found,) = [each for each in bad(place.examine()) if each[0] == "store"]
    assert found[1:] == (
        "unknown",
        "needs the cluster for its credentials, or DOCTOR_TEST_KEY in the environment",
    )
    place.profile["kubeflow"]["context"] = "kind-bertline"
    assert bad(place.examine()) == []
    assert os.environ.pop("DOCTOR_TEST_KEY") == place.value


def test_what_hangs_is_given_up_and_the_rest_is_said(place):
    place.kfp.fail("GET", "hang", times=9)
    began = time.monotonic()
    found = place.examine(deadline_s=4.0)
    assert time.monotonic() - began < 8
    assert bad(found) == [
        (
            "kubeflow",
            "failed",
            "no result after 4 seconds: a server takes requests and doesn't answer: try again later",
        )
    ]
    assert findings.exit_code(place.last) == ExitCode.TRANSIENT


def test_what_killed_probes_have_left_goes_and_those_at_work_stay(tmp_path):
    store = FileSystemStore(tmp_path)
    for name in ("old", "new"):
        store.put(f"doctor/{name}", b"probe")
    long_ago = time.time() - 7200
    os.utime(tmp_path / "doctor/old", (long_ago, long_ago))
    access = profiles.StoreAccess(uri="gs://bucket")
    assert [each.state.value for each in probes.run(store, access)] == ["ok"]
    assert [each.name for each in store.list("")] == ["doctor/new"]


def test_a_clock_that_is_wrong(tmp_path):
    class Ahead(FileSystemStore):
        def stat(self, name):
            found = super().stat(name)
            return found and type(found)(found.name, found.size, found.modified + 120)

    found = list(probes.run(Ahead(tmp_path), profiles.StoreAccess(uri="gs://bucket")))
    assert [(each.name, each.state.value) for each in found] == [("store", "ok"), ("clock", "warning")]
    assert re.match(r"this machine's clock is 1(19|20) seconds behind the store's", found[1].text)


def test_the_worst_failure_gives_the_exit_code():
    user, passing = findings.failed("a", "x"), findings.failed("b", "x", exit_code=ExitCode.TRANSIENT)
    assert findings.exit_code([passing, user]) == ExitCode.USER_ERROR
    assert findings.exit_code([findings.warning("c", "x"), findings.unknown("d", "x"), passing]) == ExitCode.TRANSIENT
    assert findings.exit_code([findings.warning("c", "x"), findings.unknown("d", "x")]) == ExitCode.OK


def test_a_profile_without_a_cluster():
    with pytest.raises(UserError, match="has no `kubeflow`: it is for this machine"):
        list(checks.run(profiles.load("local", {})))
