import codecs
import csv
import gzip
import io

import pytest

from bertline.errors import UserError
from bertline.evaluate import glue
from bertline.evaluate.glue import Example

HEADER = "index\tsentence1\tsentence2\tgold_label\n"


def write(tmp_path, content):
    path = tmp_path / "task.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_pair_is_premise_hypothesis_label(tmp_path):
    found = glue.read(write(tmp_path, HEADER + "0\tIt rains.\tIt is wet.\tentailment\n"))
    assert found.examples == (Example(0, "It rains.", "It is wet.", 1),)
    assert found.dropped == 0


def test_columns_are_found_by_name_in_any_order(tmp_path):
    content = "gold_label\tsentence2\textra\tsentence1\nneutral\tsecond\tx\tfirst\n"
    assert glue.read(write(tmp_path, content)).examples == (Example(0, "first", "second", 2),)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param((HEADER + "0\ta\tb\tneutral\n").replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(codecs.BOM_UTF8 + (HEADER + "0\ta\tb\tneutral\n").encode(), id="bom"),
        pytest.param((HEADER + "0\ta\tb\tneutral").encode(), id="no last newline"),
        pytest.param((HEADER + "0\ta\tb\tneutral\n\n\r\n").encode(), id="blank lines"),
        pytest.param(gzip.compress((HEADER + "0\ta\tb\tneutral\n").encode()), id="gzip"),
    ],
)
def test_the_same_file_written_otherwise_reads_the_same(tmp_path, content):
    assert glue.read(write(tmp_path, content)).examples == (Example(0, "a", "b", 2),)


@pytest.mark.parametrize(
    ("premise", "hypothesis"),
    [
        pytest.param('"Yes," he', 'said "no', id="quotes stay"),
        pytest.param("a", "", id="empty hypothesis"),
        pytest.param(" a  b ", "c ", id="spaces stay"),
        pytest.param("one\u2028line\x85\x0b\x0c", "b", id="unicode line ends stay"),
        pytest.param("a\rb", "c", id="a lone carriage return stays"),
        pytest.param("word " * 1000, "b", id="a thousand words"),
    ],
)
def test_sentences_are_taken_as_they_are(tmp_path, premise, hypothesis):
    found = glue.read(write(tmp_path, f"{HEADER}0\t{premise}\t{hypothesis}\tneutral\n"))
    assert found.examples == (Example(0, premise, hypothesis, 2),)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_a_file_that_a_spreadsheet_wrote_reads_as_it_was_meant(tmp_path, quoting):
    pairs = [('He said "go", twice', "He spoke."), ('"Yes."', 'A "b" c'), ("two\nlines\tand a tab", "")]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", quoting=quoting)
    writer.writerows([["index", "sentence1", "sentence2", "gold_label"]])
    writer.writerows([index, premise, hypothesis, "neutral"] for index, (premise, hypothesis) in enumerate(pairs))
    found = glue.read(write(tmp_path, text.getvalue()))
    assert [(example.premise, example.hypothesis) for example in found.examples] == pairs


def test_one_quote_that_no_spreadsheet_writes_makes_all_quotes_stay(tmp_path):
    rows = '0\t"A ""b"" c"\td\tneutral\n1\tA "b" c\td\tneutral\n'
    found = glue.read(write(tmp_path, HEADER + rows))
    assert [example.premise for example in found.examples] == ['"A ""b"" c"', 'A "b" c']


def test_sentences_in_quotes_are_no_sign_of_a_spreadsheet(tmp_path):
    rows = '0\t"Yes."\t"No."\tneutral\n1\t"An open one\tx\tneutral\n2\tand its end"\tx\tneutral\n'
    found = glue.read(write(tmp_path, HEADER + rows))
    assert [example.premise for example in found.examples] == ['"Yes."', '"An open one', 'and its end"']


def test_rows_without_a_label_are_dropped_and_counted_but_keep_their_number(tmp_path):
    found = glue.read(write(tmp_path, HEADER + "0\ta\tb\t-\n1\tc\td\tneutral\n2\te\tf\t-\n"))
    assert found.examples == (Example(1, "c", "d", 2),)
    assert found.dropped == 2


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param("", ["is empty", "sentence1"], id="empty file"),
        pytest.param("\n", ["is empty"], id="blank file"),
        pytest.param(HEADER, ["no labelled pair", "ends after the header"], id="header only"),
        pytest.param(HEADER + "0\ta\tb\t-\n", ["no labelled pair", "none of its 1 rows"], id="no labels"),
        pytest.param("sentence1\tlabel\n", ["no column sentence2", "'sentence1', 'label'"], id="other columns"),
        pytest.param("sentence1,sentence2,gold_label\n", ["no column sentence1"], id="commas"),
        pytest.param("sentence1\tsentence1\tsentence2\tgold_label\n", ["2 columns sentence1"], id="column twice"),
        pytest.param(HEADER + "0\ta\tb\n", ["line 2", "3 fields", "4 columns"], id="too few fields"),
        pytest.param(HEADER + "0\ta\tb\tneutral\n1\ta\tb\tc\tneutral\n", ["line 3", "5 fields"], id="too many fields"),
        pytest.param(HEADER.encode("utf-16"), ["UTF-16", "UTF-8"], id="UTF-16"),
        pytest.param(gzip.compress(HEADER.encode())[:-9], ["gzip", "incomplete"], id="half a gzip file"),
        pytest.param(
            HEADER + "0\ta\tb\tNeutral\n", ["line 2", "'Neutral'", "contradiction, entailment, neutral"], id="label"
        ),
        pytest.param(HEADER + "0\ta\tb\t\n", ["line 2", "''"], id="empty label"),
        pytest.param(HEADER.encode() + b"0\ta\t\xff\tneutral\n", ["line 2", "isn't UTF-8"], id="not UTF-8"),
    ],
)
def test_what_is_not_in_the_format_is_refused_with_its_place(tmp_path, content, parts):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as refused:
        glue.read(path)
    for part in [str(path), *parts]:
        assert part in str(refused.value)


def test_all_rows_of_the_real_dev_set(mnli):
    found = glue.read(mnli / "dev_matched.tsv")
    counts = [sum(example.label == label for example in found.examples) for label in range(3)]
    assert (len(found.examples), found.dropped) == (9815, 0)
    assert dict(zip(glue.LABELS, counts, strict=True)) == {"entailment": 3479, "neutral": 3123, "contradiction": 3213}
    assert found.examples[0].premise == "The new rights are nice enough"
    assert [example.index for example in found.examples] == list(range(9815))
