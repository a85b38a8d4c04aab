"""Removes the lines that Kubeflow and Argo print around a task's own lines.

A task's container starts Argo's `argoexec`, which starts KFP's launcher, which starts KFP's executor, which starts our
code. All print into the same log. Removed are their routine lines, and the line that our exit code wasn't 0, because
our own message is there too. Their warnings and errors stay: they are printed nowhere else.

    time="2026-11-25T01:02:03.004Z" level=info msg="sub-process exited" argo=true error="<nil>"    Argo
    Error: exit status 1                                                                           Argo
    I1125 01:02:03.000400      21 launcher_v2.go:193] publish success.                             KFP's launcher
    F1125 01:02:03.000500      21 main.go:58] failed to execute component: exit status 2           KFP's launcher
    [KFP Executor 2026-11-25 01:02:03,004 INFO]: Got executor_input:                               KFP's executor
    {                                                                                              and so on, to }
"""

import re
from collections.abc import Iterable, Iterator

LINE = re.compile(
    r"""time="[^"]*"\ level=(info|debug)\ msg=.*
      | Error:\ exit\ status\ \d+
      | I\d{4}\ [\d:.]+\ +\d+\ [\w./-]+\.go:\d+\]\ .*
      | F\d{4}\ [\d:.]+\ +\d+\ [\w./-]+\.go:\d+\]\ failed\ to\ execute\ component:\ exit\ status\ \d+
      | \[KFP\ Executor\ [-\d:,\ ]+\ INFO\]:\ .*""",
    re.VERBOSE | re.DOTALL,
)
OPENS = re.compile(r".*(\{|launcher info:|executor_input:)", re.DOTALL)
"""A line before a JSON document."""
BELONGS = re.compile(r"(executorInput=)?[\s{}\]].*|", re.DOTALL)
"""A line of such a document; its last line begins with }."""


def without(lines: Iterable[str]) -> Iterator[str]:
    """The task's own lines, one at a time."""
    inside = after = False
    for line in lines:
        if inside and BELONGS.fullmatch(line):
            after = line.rstrip() == "}"
            inside = not after
        elif LINE.fullmatch(line):
            inside, after = OPENS.fullmatch(line.rstrip()) is not None, False
        else:
            if line or not after:  # the launcher ends its documents with an empty line
                yield line
            inside = after = False
