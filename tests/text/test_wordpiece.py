"""The tokenizer is the Model Garden's, and bad vocabularies are refused."""

import bz2
import csv
import tarfile
from pathlib import Path

import pytest

from bertline import errors
from bertline.text import wordpiece, words

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data folder isn't beside this repository")
SPECIAL = "\n".join(wordpiece.SPECIAL_TOKENS)
VOCABULARIES = (
    ("bert-base-uncased-vocab.txt", True),
    ("bert-base-cased-vocab.txt", False),
    ("bert-base-multilingual-cased-vocab.txt", False),
)

ODD_TEXTS = [
    "",
    " \t\r\n",
    "tab\tand\x00null\x0bvertical\x0cform\x1cfs\x85nel\u2028ls\u2029ps\u00a0nbsp\u3000wide",
    "soft\u00adhyphen zero\u200bwidth \ufeffbom \ufffd replaced\ufffdinside",
    "日本語のテキスト ｶﾀｶﾅ 中文abc中文 \U0002b830 \uf900",
    "ΑΣ ΣΑΣ, ΟΔΟΣ. Kelvin \u212a İstanbul Straße ǅ",
    "private \ue000use x\ue000y unassigned \u0378",
    "it costs $5^2`~| a_b [SEP] [MASK] ##ing # # «кавычки» — тире… „x“ № 5",
    "new marks a\u2e5db a\u061db",
    "e\u0301e\u0300 café naïve Ёлка ёж Йод",
    "x" * 400,
    "x" * 401,
    "😀😀 👨‍👩‍👧 🏴\U000e0067\U000e007f",
    "\ud800 lone surrogate",
]


@pytest.fixture(scope="module")
def real_texts() -> list[str]:
    with tarfile.open(DATA / "wiki_text" / "enwiki-featured-part.tar.xz") as archive:
        member = archive.next()
        while not member.isfile():
            member = archive.next()
        texts = archive.extractfile(member).read().decode().split("\n")[:400]
    with (DATA / "mnli" / "dev_matched.tsv").open(encoding="utf-8", newline="") as file:
        texts += [row[8] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][:1500]
    for language in ("ru", "uk", "de"):
        dump = bz2.decompress((DATA / "wiki_xml" / f"dbpedia-minidump-{language}wiki.xml.bz2").read_bytes())
        texts += dump.decode().split("\n")[:1000]
    return texts


@pytest.mark.usefixtures("tensorflow")
@needs_data
@pytest.mark.filterwarnings("ignore")  # TensorFlow and tf_keras, which the Model Garden's tokenizer imports, warn a lot
@pytest.mark.parametrize(("name", "lower_case"), VOCABULARIES)
def test_ids_are_the_model_gardens_on_real_and_odd_texts(name, lower_case, real_texts):
    from official.nlp.tools import tokenization

    theirs = tokenization.FullTokenizer(str(DATA / "vocab" / name), do_lower_case=lower_case)
    ours = wordpiece.Tokenizer(wordpiece.read(DATA / "vocab" / name), lower_case)
    texts = real_texts + ODD_TEXTS
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids.tolist() == theirs.convert_tokens_to_ids(theirs.tokenize(text)), text


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("lower_case", [True, False])
def test_every_character_of_unicode_splits_words_as_in_the_model_garden(lower_case):
    from official.nlp.tools import tokenization

    theirs = tokenization.BasicTokenizer(do_lower_case=lower_case)

    def ours(text):
        return [word for part in words.split_all([text])[0] for word in words.of(part, lower_case)]

    # All of the two planes in use by living scripts, then every 13th: unassigned, private, tags.
    for code_point in [*range(0x20000), *range(0x20000, 0x110000, 13)]:
        text = f"a{chr(code_point)}B"
        assert ours(text) == theirs.tokenize(text), hex(code_point)


def test_a_word_is_cut_greedily_and_is_unknown_if_it_cannot():
    vocabulary = wordpiece.parse(f"{SPECIAL}\nun\n##aff\n##able\n##a\n,", "here")
    tokenizer = wordpiece.Tokenizer(vocabulary, lower_case=True)
    assert [vocabulary.pieces[i] for i in tokenizer.encode("Unaffable, unx")] == [
        "un",
        "##aff",
        "##able",
        ",",
        "[UNK]",
    ]
    assert tokenizer.starts_word.tolist() == [True] * 6 + [False] * 3 + [True]


def test_forgetting_what_was_seen_changes_nothing(monkeypatch):
    vocabulary = wordpiece.parse(f"{SPECIAL}\na\nb\n##a\n##b", "here")
    texts = ["ab ba aab bba abab ab ba", "", "ab aab Ä", "bba Ä b"] * 2
    expected = wordpiece.Tokenizer(vocabulary, lower_case=False).encode_batch(texts)
    monkeypatch.setattr(wordpiece, "_REMEMBERED", 2)
    forgetful = wordpiece.Tokenizer(vocabulary, lower_case=False)
    assert [forgetful.encode(text) for text in texts] == [ids.tolist() for ids in expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "vocab.txt is empty"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword", r"vocab.txt has 5 pieces, but \[MASK\] isn't among them"),
        (f"{SPECIAL}\nword\nother\nword", "line 8: 'word' is already on line 6"),
        (f"{SPECIAL}\n\nword", "line 6: blank"),
    ],
)
def test_a_bad_vocabulary_is_refused_with_its_file_and_line(text, message):
    with pytest.raises(errors.UserError, match=message):
        wordpiece.parse(text, "vocab.txt")


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="there is no vocabulary"):
        wordpiece.read(tmp_path / "none.txt")
    (tmp_path / "v.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.UserError, match="byte 0 isn't UTF-8"):
        wordpiece.read(tmp_path / "v.txt")


def test_lower_casing_against_a_cased_vocabulary_is_refused():
    cased = wordpiece.parse(f"{SPECIAL}\n[unused1]\nword\nParis", "here")
    with pytest.raises(errors.UserError, match="'Paris'"):
        wordpiece.Tokenizer(cased, lower_case=True)
    assert wordpiece.Tokenizer(cased, lower_case=False).encode("Paris") == [7]


@needs_data
def test_the_published_vocabularies_are_read_whole():
    sizes = [wordpiece.read(DATA / "vocab" / name).size for name, _ in VOCABULARIES]
    assert sizes == [30_522, 28_996, 119_547]
    uncased = wordpiece.read(DATA / "vocab" / VOCABULARIES[0][0])
    assert (uncased.pad_id, uncased.unk_id, uncased.cls_id, uncased.sep_id, uncased.mask_id) == (0, 100, 101, 102, 103)
    assert uncased.sha256 == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    assert uncased.cased_piece is None


@pytest.mark.parametrize("piece", ["schön", "##й", "ё", "한"])
def test_accents_in_an_uncased_vocabulary_are_refused_like_capital_letters(piece):
    accented = wordpiece.parse(f"{SPECIAL}\n{piece}", "here")
    with pytest.raises(errors.UserError, match=f"(?s)strips accents.*{piece}"):
        wordpiece.Tokenizer(accented, lower_case=True)
    wordpiece.Tokenizer(accented, lower_case=False)


def test_a_byte_order_mark_is_no_part_of_a_piece(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"\xef\xbb\xbfthe\n" + SPECIAL.encode())
    assert wordpiece.read(path).pieces[0] == "the"


def test_a_line_separator_may_be_a_piece():
    """Google's Chinese vocabulary has it."""
    found = wordpiece.parse(f"{SPECIAL}\n\u2028\nthe\n", "here")
    assert found.pieces[-2:] == ("\u2028", "the")
    assert wordpiece.parse(found.text, "here") == found
