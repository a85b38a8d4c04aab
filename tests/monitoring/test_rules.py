"""The alert and recording rules, on made-up histories: promtool evaluates them as Prometheus would."""

import http.server
import subprocess
import threading

import pytest
import yaml

from bertline_pipelines.monitoring import manifests
from support import prometheus
from support.alert_histories import CASES, LABELS, RECORDS
from support.prometheus import PROMTOOL

RULES = manifests.FOLDER / manifests.RULES


def document():
    return yaml.safe_load(RULES.read_text())


def rules(kind):
    return {rule[kind]: rule for group in document()["groups"] for rule in group["rules"] if kind in rule}


def series(name, labels=LABELS):
    metric, _, own = name.partition("{")
    metric = metric if metric == "up" else f"bertline_{metric}"
    more = dict(part.split("=", 1) for part in own.rstrip("}").split(",") if part)
    pairs = {label: f'"{value}"' for label, value in labels.items()} | more
    return f"{metric}{{{','.join(f'{label}={value}' for label, value in pairs.items())}}}"


def inputs(histories):
    return [{"series": series(name), "values": values} for name, values in histories.items()]


def alert_test(case, severity):
    expected = [{"exp_labels": case.labels | {"severity": severity}}]
    times = [(minute, expected) for minute in case.fires] + [(minute, []) for minute in case.silent]
    return {
        "interval": "1m",
        "input_series": inputs(case.series),
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts} for minute, alerts in times
        ],
    }


def record_test(record, histories, minute, value):
    sample = {"labels": series(f"{record}").replace("bertline_bertline:", "bertline:"), "value": value}
    return {
        "interval": "1m",
        "input_series": inputs(histories),
        "promql_expr_test": [{"expr": record, "eval_time": f"{minute}m", "exp_samples": [sample]}],
    }


def check(folder, rule, tests):
    """promtool's words, if a test of a rule fails. Annotations are left out: promtool would want each word of them."""
    needed = [each for record, each in rules("record").items() if record in rule["expr"]]
    rule = {name: value for name, value in rule.items() if name != "annotations"}
    group = {"name": "tested", "interval": "30s", "rules": [*needed, rule]}
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    (folder / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    command = [PROMTOOL, "test", "rules", "tests.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr if done.returncode else ""


@prometheus.needs_promtool
def test_promtool_accepts_the_rules():
    done = subprocess.run([PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@prometheus.needs_promtool
@pytest.mark.parametrize("case", CASES, ids=[f"{case.alert} {i}" for i, case in enumerate(CASES)])
def test_an_alert_fires_when_it_should_and_not_before(tmp_path, case):
    rule = rules("alert")[case.alert]
    assert not check(tmp_path, rule, [alert_test(case, rule["labels"]["severity"])])


@prometheus.needs_promtool
@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_what_its_name_says(tmp_path, record):
    assert not check(tmp_path, rules("record")[record], [record_test(record, *RECORDS[record])])


@prometheus.needs_promtool
@pytest.mark.parametrize("alert", sorted({case.alert for case in CASES}))
def test_these_histories_would_notice_an_alert_that_never_fires_or_always_does(tmp_path, alert):
    rule = rules("alert")[alert]
    tests = [alert_test(case, rule["labels"]["severity"]) for case in CASES if case.alert == alert]
    for expr in ("vector(0) > 1", 'count by (experiment) ({experiment="wiki"}) > 0'):
        assert alert in check(tmp_path, rule | {"expr": expr}, tests)


def test_every_rule_has_its_history():
    assert {case.alert for case in CASES if case.fires} == {case.alert for case in CASES if case.silent}
    assert {case.alert for case in CASES} == rules("alert").keys()
    assert RECORDS.keys() == rules("record").keys()


def test_every_alert_says_what_to_do():
    for name, rule in rules("alert").items():
        assert name.startswith("Bertline")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert any(word in rule["annotations"]["runbook"] for word in ("bertline ", "kubectl ")), name
        assert "\n" not in rule["annotations"]["runbook"]


class Broken(http.server.BaseHTTPRequestHandler):
    """A pod with which everything is wrong at once."""

    scrapes = 0

    def do_GET(self):
        type(self).scrapes += 1
        metrics = {
            "last_progress_timestamp_seconds": 1,
            "stall_limit_seconds": 300,
            'phase{phase="training"}': 1,
            'training_loss{kind="mlm"}': "NaN",
            "attempt": min(self.scrapes, 9),
            "checkpoint_last_success_timestamp_seconds": 1,
            "checkpoint_interval_seconds": 600,
            "checkpoint_failures_total": self.scrapes,
            'gpu_allocator_peak_bytes{gpu="0"}': 23,
            'gpu_memory_total_bytes{gpu="0"}': 24,
            "host_memory_resident_bytes": 79,
            "host_memory_limit_bytes": 80,
            "gpu_errors_total": self.scrapes,
            "training_steps_total": self.scrapes,
            "training_seconds_total": self.scrapes,
            "training_data_wait_seconds_total": self.scrapes / 2,
            "checkpoint_pause_seconds_total": self.scrapes / 9,
            "training_step": 5,
            "training_last_step": 10,
        }
        content = "".join(f"{series(name)} {value}\n" for name, value in metrics.items()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def broken():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@prometheus.needs_prometheus
def test_a_real_prometheus_evaluates_every_rule_and_its_words_are_complete(tmp_path, broken):
    quick = document()
    for group in quick["groups"]:
        group["interval"] = "1s"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(quick))
    down = {"targets": ["127.0.0.1:1"], "labels": {"pod": "gone", "namespace": "kubeflow"}}
    up = {"targets": [broken]}
    job = {"job_name": "bertline", "honor_labels": True, "static_configs": [up, down]}
    with prometheus.Prometheus(tmp_path / "data", rules=[tmp_path / "rules.yaml"], scrape_configs=[job]) as server:
        for record in rules("record"):
            assert server.wait_for(record)
        for alert in rules("alert"):
            server.wait_for(f'ALERTS{{alertname="{alert}"}}')
        alerts = server.alerts()
        assert {rule["health"] for rule in server.rules()} == {"ok"}
    assert {alert["labels"]["alertname"] for alert in alerts} == rules("alert").keys()
    for alert in alerts:
        for text in alert["annotations"].values():
            assert text
            assert "{{" not in text
            assert "no value" not in text
            assert "error" not in text.replace("Xid errors", "").replace("GPU's errors", ""), text
            assert ",  " not in text
            assert "of ." not in text
    stalled = next(alert for alert in alerts if alert["labels"]["alertname"] == "BertlineTrainingStalled")
    assert "bertline logs wiki -p PROFILE -t 6L-pretrain-20;" in stalled["annotations"]["runbook"]
