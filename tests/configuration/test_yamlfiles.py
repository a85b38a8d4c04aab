"""Whatever a person may write into a file: a sentence with its line, and never an exception of a library."""

import pytest
from pydantic import BaseModel

from bertline.configuration import yamlfiles
from bertline.errors import UserError


class Model(BaseModel):
    name: str = ""
    number: int = 1
    share: float = 0.5
    flag: bool = True
    models: dict[str, int] = {}


@pytest.fixture
def load(tmp_path):
    def load(content):
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return yamlfiles.read(path).validated(Model, strict=True)

    return load


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("name: a\n\tnumber: 1", ["line 2", "tabs"], id="a tab"),
        pytest.param("name: a\nnumber:1\nflag: true", ["line 2", "a space after each colon"], id="no space"),
        pytest.param("name: a\n---\nname: b", ["line 2", "second document"], id="two documents"),
        pytest.param("name: a\n".encode("utf-16"), ["line 1", "UTF-8"], id="UTF-16"),
        pytest.param(b"number: 1\nname: caf\xe9", ["line 2", "UTF-8"], id="Latin-1"),
        pytest.param("number: 1\nname: a\x00b", ["line 2", "U+0000"], id="a control character"),
        pytest.param("name: " + "[" * 5000, ["too deep"], id="endless nesting"),
        pytest.param("name: &a [*a]", ["line 1", "contains itself"], id="a list in itself"),
        pytest.param(
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
            ["more than", "keys and values"],
            id="aliases of aliases of aliases",
        ),
        pytest.param("number: !!bool x", ["line 1", "x is no bool"], id="a tag that its value isn't"),
        pytest.param("number: !!timestamp 2026-11-25", ["line 1", "timestamp"], id="a date by tag"),
        pytest.param("name: !!binary aGk=", ["line 1", "binary"], id="bytes by tag"),
        pytest.param("name: !!python/name:os.system", ["line 1", "python"], id="code by tag"),
        pytest.param("number: " + "9" * 5000, ["line 1", "is no int"], id="more digits than Python takes"),
        pytest.param("? [a, b]\n: 1", ["line 1", "a key is a word"], id="a list as a key"),
        pytest.param('name: "\\ud800"', ["half a character"], id="half a character"),
        pytest.param("models: {a: 1, a: 2}", ["`a` is given twice"], id="twice in one line"),
        pytest.param("models: {3: 1, '3': 2}", ["`3` is given twice"], id="twice, once in quotes"),
        pytest.param("models:\n  <<: {a: 1, a: 2}", ["line 2", "`a` is given twice"], id="twice in what is merged"),
        pytest.param("number: 010", ["010 is 8", "10 in the other", "write 10 or 8"], id="010"),
        pytest.param("number: -0_17", ["-15", "-17"], id="a negative one"),
        pytest.param("number: 09", ["write 9"], id="09 is no octal"),
        pytest.param("name: 007", ['"007" in quotes'], id="a secret agent"),
        pytest.param("name: 1e3", ['write "1e3" in quotes'], id="text as it was written"),
        pytest.param("number: 1:30", ["whole number", "'1:30'"], id="sexagesimal"),
        pytest.param("number: 0b11", ["whole number", "'0b11'"], id="binary digits"),
        pytest.param("number: 1_0_", ["whole number"], id="underscore at the end"),
        pytest.param("number: 1e1", ["whole number", "write 10"], id="a whole number as a float"),
        pytest.param("number: '3'", ["write 3 without quotes"], id="a number in quotes"),
        pytest.param("number: true", ["whole number", "found true"], id="true is not 1"),
        pytest.param("flag: off", ["true or false", "write false"], id="off"),
        pytest.param("flag: 1", ["true or false", "write true"], id="1 is not true"),
        pytest.param("share: true", ["a number", "found true"], id="true is not 1.0"),
    ],
)
def test_what_cant_be_meant_is_refused_in_a_sentence(content, said, load):
    with pytest.raises(UserError) as error:
        load(content)
    for part in said:
        assert part in str(error.value)


def test_an_ambiguous_number_is_told_once(load):
    with pytest.raises(yamlfiles.FileError) as error:
        load("name: 007")
    assert len(error.value.problems) == 1


def test_what_reading_and_what_validation_finds_is_told_together(load):
    with pytest.raises(yamlfiles.FileError) as error:
        load("number: 010\nmodels: {a: 1, a: 2}\nflag: maybe\nshare: much\n")
    assert [problem["line"] for problem in sorted(error.value.problems, key=lambda each: each["line"])] == [1, 2, 3, 4]


def test_keys_are_the_text_that_stands_there(load):
    """0x3 and 3 are two models, and 010 is a name like any other."""
    found = load("models: {3: 1, 0x3: 2, 010: 3, 1.50: 4, yes: 5, true: 6, 2026-11-25: 7}").models
    assert list(found) == ["3", "0x3", "010", "1.50", "yes", "true", "2026-11-25"]


def test_values_are_those_of_yaml_1_2(load):
    found = load("name: on\nshare: 1e-4\nnumber: 0o17\nflag: False\n")
    assert (found.name, found.share, found.number, found.flag) == ("on", 1e-4, 15, False)
    assert load("name: 2026-11-25").name == "2026-11-25"
    assert load("number: 10_000").number == 10_000


def test_sections_may_be_shared_by_alias_and_merged(load):
    found = load("models: {<<: {a: 1, b: 2}, b: 3}\nname: &a on\n").models
    assert found == {"a": 1, "b": 3}


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(load):
    assert load(b"\xef\xbb\xbfname: a\r\nnumber: 2\r\n") == Model(name="a", number=2)
