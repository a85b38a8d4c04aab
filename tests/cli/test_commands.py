import bz2
import json
import subprocess
import sys

import pytest
import yaml

import bertline_pipelines.places.profiles
from bertline.errors import ExitCode
from bertline.plurals import counted
from bertline.store import references
from bertline.store.backends import connect
from bertline_cli.main import COMMANDS

NANO = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()


def write(folder, **changes):
    """The nano experiment with sections changed, as a file."""
    document = yaml.safe_load(NANO)
    for section, values in changes.items():
        document[section] = {**document[section], **values} if isinstance(values, dict) else values
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_from_nothing_to_a_plan(bertline):
    """The commands that README names, each printing the next one."""
    made = bertline("init", "my.yaml", "--like", "nano")
    assert made.returncode == 0, made.stderr
    assert "bertline validate my.yaml" in made.stdout
    valid = bertline("validate", "my.yaml")
    assert "bertline plan my.yaml" in valid.stdout
    planned = bertline("plan", "my.yaml", "--store", "store")
    assert "2L-pretrain-1" in planned.stdout
    assert "bertline run my.yaml --store store" in planned.stdout
    document = json.loads(bertline("plan", "my.yaml", "--store", "store", "--json").stdout)
    assert {task["state"] for task in document["tasks"]} == {"missing"}
    assert document["steps_missing"] == sum(task["steps"] for task in document["tasks"])
    assert [task["name"] for task in document["tasks"]][:2] == ["vocabulary", "corpus"]


def test_init_doesnt_overwrite(bertline, tmp_path):
    (tmp_path / "my.yaml").write_text("mine")
    result = bertline("init", "my.yaml")
    assert result.returncode == ExitCode.USER_ERROR
    assert (tmp_path / "my.yaml").read_text() == "mine"


def test_validate_says_what_has_no_checksum(bertline, tmp_path):
    path = write(tmp_path, corpus={"dump": "https://127.0.0.1:1/x.xml.bz2"})
    result = bertline("validate", path, "--json")
    assert "has no checksum" in json.loads(result.stdout)["warnings"][0]


@pytest.fixture
def bad(tmp_path):
    """A bad input by name: the changed section."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    row = "0\t\t\t\t\t\t\t\tA\tB\t\tneutral\n"
    header = "index\tpromptID\tpairID\tgenre\ts1b\ts2b\ts1p\ts2p\tsentence1\tsentence2\tlabel1\tgold_label\n"
    files = {
        "truncated.bz2": bz2.compress(b"<mediawiki>" + b"<page></page>" * 90_000)[:-60],
        "text.bz2": bz2.compress(b"not XML at all"),
        "not-bz2.bz2": b"plain",
        "vocab.txt": "\n".join(piece for piece in vocabulary if piece != "[MASK]").encode(),
        "cased.txt": "\n".join([*vocabulary, "Abc"]).encode(),
        "columns.tsv": header.replace("gold_label", "gold").encode() + row.encode(),
        "labels.tsv": header.encode() + row.replace("neutral", "maybe").encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tsv = {"dev": "sample:nli/dev"}
    return {
        "truncated bz2": ("corpus", {"dump": "truncated.bz2"}),
        "not XML": ("corpus", {"dump": "text.bz2"}),
        "not bz2": ("corpus", {"dump": "not-bz2.bz2"}),
        "no [MASK]": ("vocabulary", {"file": "vocab.txt", "train": None, "lower_case": True}),
        "cased": ("vocabulary", {"file": "cased.txt", "train": None, "lower_case": True}),
        "missing column": ("evaluate", {"tasks": {"MNLI-m": {"train": "columns.tsv", **tsv}}}),
        "unknown label": ("evaluate", {"tasks": {"MNLI-m": {"train": "labels.tsv", **tsv}}}),
        "unknown key": ("pretrain", {"epoch": 3}),
        "negative epochs": ("pretrain", {"epochs": -3}),
    }


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated bz2", "truncated.bz2"),
        ("not XML", "text.bz2"),
        ("not bz2", "not-bz2.bz2"),
        ("no [MASK]", "[MASK]"),
        ("cased", "'Abc'"),
        ("missing column", "gold_label"),
        ("unknown label", "maybe"),
        ("unknown key", "epoch"),
        ("negative epochs", "-3"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_bad_input_is_one_clear_error_before_any_work(command, kind, said, bad, bertline, tmp_path):
    section, values = bad[kind]
    path = write(tmp_path, **{section: values})
    result = bertline(command, path)
    assert result.returncode == ExitCode.USER_ERROR, result.stdout + result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_store_that_cant_be_written_is_said_before_any_work(bertline, tmp_path):
    (tmp_path / "file").write_text("")
    result = bertline("run", write(tmp_path), "--store", tmp_path / "file" / "store")
    assert result.returncode == ExitCode.USER_ERROR
    assert "can't write" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_report_of_an_unknown_experiment_names_the_known(bertline, tmp_path):
    references.write(connect(str(tmp_path / "store")), "small", {"key": "0" * 64})
    result = bertline("report", "unknown", "--store", "store")
    assert result.returncode == ExitCode.USER_ERROR
    assert "'unknown'" in result.stderr
    assert "small" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["report", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments):
    """What makes help instant: no kfp, TensorFlow, numpy or model of ours."""
    code = (
        "import sys\nsys.argv = ['bertline', *sys.argv[1:]]\n"
        "from bertline_cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'kfp', 'tensorflow', 'numpy', 'google.cloud', 'altair', 'bertline.experiment.specs'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("profile", ["local", "kind", "minikube", "gke-l4", "gke-a100-spot", "kind-gpu"])
@pytest.mark.parametrize("command", [["plan"], ["submit", "--dry-run"], ["validate"]], ids=lambda command: command[0])
def test_a_newcomer_without_cluster_and_bucket_can_plan(command, profile, bertline, tmp_path, monkeypatch):
    if (command[0], profile) == ("submit", "local"):
        pytest.skip("isn't for a cluster")
    for variable in ("BERTLINE_STORE", "BERTLINE_REGISTRY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    result = bertline(*command, write(tmp_path), "--profile", profile, KUBECONFIG=str(tmp_path / "none"))
    assert result.returncode == 0, result.stderr
    if command != ["validate"]:
        assert "2L-pretrain-1" in result.stdout
        assert "every task counts as missing" in result.stderr
    if profile.startswith("gke"):
        assert "BERTLINE_STORE" in result.stderr
        assert "BERTLINE_REGISTRY" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_a_bucket_that_isnt_there_yet_is_no_obstacle_to_a_plan(bertline, tmp_path, emulator):
    path = write(tmp_path)
    options = ["--profile", "gke-l4", "--store", "gs://nobody-has-made-this/bertline"]
    planned = bertline("plan", path, *options, "--json", STORAGE_EMULATOR_HOST=emulator)
    assert planned.returncode == 0, planned.stderr
    [*_, said] = json.loads(planned.stdout)["unknown"]
    assert "gs://nobody-has-made-this/bertline" in said
    assert "every task counts as missing" in said


def test_a_store_on_this_machine_that_cant_be_is_refused(bertline, tmp_path):
    for store in ("file://out/store", "ftp://somewhere/store", " "):
        result = bertline("plan", write(tmp_path), "--store", store)
        assert result.returncode == ExitCode.USER_ERROR, result.stdout
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["store", "ls"], ["images", "build"]])
def test_h_is_help_everywhere_and_only_the_whole_command_has_completion(command):
    from typer.testing import CliRunner

    from bertline_cli.main import app

    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0, short.output
    assert short.output == long.output
    assert "Usage: " in short.output
    assert ("--install-completion" in short.output) == (not command)
    assert max(map(len, short.output.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [["report", "nano"], ["pull", "nano", "results"], ["logs", "nano"], ["dashboard", "nano", "--once"]],
    ids=lambda arguments: arguments[0],
)
def test_a_mistyped_store_is_said_to_be_none(arguments, bertline, tmp_path):
    result = bertline(*arguments, "--store", "stroe")
    assert result.returncode == ExitCode.USER_ERROR
    assert f"no store at file://{tmp_path}/stroe" in result.stderr
    assert not list(tmp_path.iterdir())


def test_one_is_singular():
    assert [counted(number, "task") for number in (0, 1, 2, 1200)] == ["0 tasks", "1 task", "2 tasks", "1,200 tasks"]
    assert counted(2, "retry", "retries") == "2 retries"


@pytest.mark.parametrize("arguments", [["run"], ["plan", "--nonsense"], ["unknown"]])
def test_wrong_usage_exits_with_the_users_code(arguments, bertline):
    result = bertline(*arguments)
    assert result.returncode == ExitCode.USER_ERROR
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["plan", "--nonsense"], ["unknown"], ["store", "ls", "--profile"], ["status"]])
def test_wrong_usage_is_json_where_json_was_asked_for(arguments, bertline):
    result = bertline(*arguments, "--json")
    assert result.returncode == ExitCode.USER_ERROR
    told = json.loads(result.stdout)["error"]
    assert (told["family"], told["exit_code"]) == ("user error", 2)
    assert told["message"] in result.stderr


def test_validate_tells_the_mistakes_of_both_files_at_once(bertline, tmp_path):
    write(tmp_path, pretrain={"epochs": 0})
    profile = (bertline_pipelines.places.profiles.text("kind")).replace("memory: 3Gi", "memory: 3 GB", 1)
    (tmp_path / "mine.yaml").write_text(profile)
    result = bertline("validate", "experiment.yaml", "--profile", "mine.yaml", "--json")
    told = json.loads(result.stdout)["error"]["problems"]
    assert [(problem["file"], problem["message"].partition(":")[0]) for problem in told] == [
        ("experiment.yaml", "pretrain.epochs"),
        ("mine.yaml", "pods.pretrain.memory"),
    ]
    assert all(problem["line"] for problem in told)


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_an_error_is_json_where_json_was_asked_for(command, bertline, tmp_path):
    text = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()
    (tmp_path / "my.yaml").write_text(text.replace("layers: 2", "layer: 2"))

    result = bertline(command, "my.yaml", "--json")

    assert result.returncode == ExitCode.USER_ERROR
    told = json.loads(result.stdout)["error"]
    assert (told["family"], told["exit_code"]) == ("user error", 2)
    line = 1 + text[: text.index("layers: 2")].count("\n")
    assert {problem["line"] for problem in told["problems"]} == {line}
    assert "did you mean layers?" in told["message"]
    assert told["message"] in result.stderr
