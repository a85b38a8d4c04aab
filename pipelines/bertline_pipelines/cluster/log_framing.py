"""What Kubeflow and Argo print around a task's own lines, so that it can be left out.

A task's container starts Argo's `argoexec`, that KFP's launcher, that KFP's executor, and only then our code; each says
what it does, into the same log. Left out is what they say in good times, and that our exit code wasn't 0, which we have
said before. Their warnings and errors stay: a launcher that can't reach its server says so nowhere else.

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
"""A line after which a document follows."""
BELONGS = re.compile(r"(executorInput=)?[\s{}\]].*|", re.DOTALL)
"""A line of such a document, which ends with a } at a line's beginning."""


def without(lines: Iterable[str]) -> Iterator[str]:
    """The task's own lines, as they come."""
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
