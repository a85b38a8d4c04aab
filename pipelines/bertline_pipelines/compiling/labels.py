"""Labels of a task's pods, by which `status`, `logs` and the monitoring find them."""

import hashlib
import re

from bertline_pipelines.planning.plans import Task

LABEL = "bertline.dev/"
PART_OF = ("app.kubernetes.io/part-of", "bertline")


def labels(task: Task, experiment: str) -> dict[str, str]:
    """All labels of a task."""
    return dict([PART_OF]) | {
        f"{LABEL}experiment": label(experiment),
        f"{LABEL}task": label(task.name),
        f"{LABEL}stage": label(task.stage),
        f"{LABEL}run": label(task.run or "none"),
        f"{LABEL}epoch": str(task.epoch),
    }


def label(text: str) -> str:
    """A valid label value: `text` itself if it is one, else its beginning and a digest (63 characters at most)."""
    if re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{re.sub(r'[^-A-Za-z0-9_.]', '-', text)[:52].lstrip('-_.')}-{digest}"
