"""On what each stage runs, as far as names and profiles tell."""

import pytest

from bertline_pipelines.estimates import devices
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.places import profiles


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA L4", "L4"),
        ("nvidia-l4", "L4"),
        ("NVIDIA L40S", devices.UNKNOWN),
        ("nvidia-tesla-a100", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("nvidia-h100-mega-80gb", "H100"),
        ("NVIDIA GeForce GTX 1080 Ti", "1080 Ti"),
        ("Tesla T4", "T4"),
        ("", devices.UNKNOWN),
    ],
)
def test_names_and_labels_of_gpus_are_recognised(name, model):
    assert devices.model(name) == model


PLACE = {"BERTLINE_STORE": "gs://bucket/x", "BERTLINE_REGISTRY": "registry.example/x"}


def test_a_profile_tells_where_its_stages_run():
    l4, a100 = (devices.of(profiles.load(name, PLACE), 0.85) for name in ("gke-l4", "gke-a100-spot"))
    assert l4["pretrain"] == Device(6, "L4", 1, 0.85, is_pod=True)
    assert a100["pretrain"].gpu == "A100"
    assert l4["evaluate"] == Device(6, is_pod=True)
    pretended = devices.of(profiles.load("kind-gpu", PLACE), 0.85)
    assert pretended["pretrain"] == Device(1, is_pod=True)  # computed on the CPU, and free
    here = devices.of(profiles.load("local", {}))
    assert here == devices.of(None)
    assert not here["pretrain"].is_pod
