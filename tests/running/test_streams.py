"""Output that may break off doesn't end the work."""

import subprocess
import sys

import pytest

WRITES = """
import sys
from bertline_pipelines.running import streams
sys.stderr = streams.lasting(sys.stderr)
shown = streams.lasting(sys.stdout)
for number in range(3):
    shown.write(f"line {number}\\n")
    shown.flush()
sys.exit(7)
"""


def test_what_a_reader_that_is_gone_would_have_read_goes_to_standard_error():
    process = subprocess.Popen([sys.executable, "-c", WRITES], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, said = process.communicate()
    assert process.returncode == 7
    assert said.splitlines()[-1] == b"line 2"
    assert b"Error" not in said


@pytest.mark.parametrize("stderr", ["/dev/full", "/dev/null"])
def test_a_full_disk_under_all_output_changes_no_exit_code(stderr):
    with open("/dev/full", "w") as full, open(stderr, "w") as other:
        assert subprocess.run([sys.executable, "-c", WRITES], stdout=full, stderr=other, check=False).returncode == 7
