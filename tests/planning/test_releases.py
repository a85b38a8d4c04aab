"""`latest` is a dump by its date from the first run on, whatever comes out later."""

import json

import pytest
import yaml
from typer.testing import CliRunner

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.errors import TransientError
from bertline.experiment.specs import Experiment
from bertline.sources import downloads
from bertline.store import references
from bertline.store.backends import connect
from bertline_cli.main import app
from bertline_pipelines.planning import releases, unrolling
from support.web_servers import WebServer, file, status

NANO = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
SUMS = "/enwiki/latest/enwiki-latest-sha1sums.txt"


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("bertline.sources.releases.PATIENCE", downloads.Patience(lasts_s=0.2))
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


def publish(web, date):
    web.answers[SUMS] = [file(f"{date}{'0' * 32}  enwiki-{date}-pages-articles.xml.bz2\n".encode())]


@pytest.fixture
def latest(web):
    publish(web, "20261101")
    return f"{web.url}/enwiki/latest/enwiki-latest-pages-articles.xml.bz2"


@pytest.fixture
def experiment(latest):
    return Experiment.model_validate(NANO | {"corpus": NANO["corpus"] | {"dump": latest}})


def submitted(experiment, store):
    """What `run` and `submit` do."""
    found, said = releases.resolved(experiment, lambda: store)
    graph = unrolling.build(found)
    references.write(store, experiment.name, graph.document)
    return graph, said


def test_latest_stays_the_dump_that_it_was(web, experiment, latest, store):
    first, said = submitted(experiment, store)
    dump = first.experiment.corpus.dump
    assert dump.url == latest.replace("latest", "20261101")
    assert (dump.sha1, dump.asked) == ("20261101" + "0" * 32, latest)
    assert all(word in said[0] for word in (latest, dump.url, dump.sha1))
    publish(web, "20261201")
    asked = len(web.requests)
    again, said = submitted(experiment, store)
    assert again.digest == first.digest
    assert "since the experiment's first run" in said[0]
    # also after other changes, and if the server is away
    web.answers[SUMS] = [status(503)]
    other = experiment.model_copy(update={"description": "another version"})
    assert submitted(other, store)[0].experiment.corpus.dump == dump
    assert len(web.requests) == asked
    # another store knows nothing of it
    publish(web, "20261201")
    assert releases.resolved(experiment, lambda: None)[0].corpus.dump.sha1.startswith("20261201")


def test_keys_follow_the_checksum(experiment, store, latest):
    graph, _ = submitted(experiment, store)
    [config] = graph.configs(CorpusConfig)
    assert config.derivation().document()["config"]["corpus"]["dump"] == "sha1:20261101" + "0" * 32


def test_what_was_run_before_there_were_look_ups_stays_as_it_was(web, experiment, store):
    before = unrolling.build(experiment)
    references.write(store, experiment.name, before.document)
    after, said = submitted(experiment, store)
    assert (after.digest, said, web.requests) == (before.digest, [], [])


def test_a_plan_without_network_is_a_plan(web, experiment, store):
    web.answers[SUMS] = [status(503)]
    with pytest.raises(TransientError):
        releases.resolved(experiment, lambda: store)
    found, [said] = releases.resolved(experiment, lambda: store, may_be_unknown=True)
    assert found == experiment
    assert "can't be looked up now" in said


def test_an_experiment_with_nothing_to_look_up_asks_nobody():
    experiment = Experiment.model_validate(NANO)
    assert releases.resolved(experiment, lambda: pytest.fail("asked the store")) == (experiment, [])


def test_the_commands_look_it_up(web, latest, tmp_path, store):
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(NANO | {"corpus": NANO["corpus"] | {"dump": latest}}))
    planned = CliRunner().invoke(app, ["plan", str(path), "--store", store.uri, "--json"])
    assert "enwiki-20261101" in planned.stderr
    assert planned.exit_code == 0
    assert not list(store.list("")), "a plan writes nothing"
    assert json.loads(planned.stdout)["tasks"]
    out = tmp_path / "out.yaml"
    compiled = CliRunner().invoke(app, ["compile", str(path), "--profile", "kind", "--output", str(out)])
    assert compiled.exit_code == 0, compiled.output
    assert "enwiki-20261101" in "".join(each.read_text() for each in [*tmp_path.glob("out*")] if each.is_file())
    checked = CliRunner().invoke(app, ["validate", str(path)])
    assert checked.exit_code == 0
    assert "no checksum" not in checked.stderr
