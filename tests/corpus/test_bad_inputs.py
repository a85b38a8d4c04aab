"""What can't become a corpus is refused with a sentence, and what may be skipped is counted."""

import bz2

import pytest

from bertline.corpus import stage, units, workers
from bertline.corpus.buckets import Partitioner
from bertline.errors import DamagedError, UserError
from bertline.store.backends import connect
from bertline.text import wordpiece
from bertline.wikipedia import dumps


def page(number, text, namespace=0, redirect=""):
    return (
        f"<page><title>P</title><ns>{namespace}</ns><id>{number}</id>{redirect}<revision><id>1</id>"
        f"<text>{text}</text></revision></page>\n"
    )


@pytest.fixture
def write(tmp_path):
    def dump(*pages):
        path = tmp_path / "some.xml.bz2"
        path.write_bytes(bz2.compress(f"<mediawiki>\n{''.join(pages)}</mediawiki>\n".encode()))
        return path

    return dump


PROSE = "The rain in Spain stays mainly in the plain. It rains again and again."


def test_a_dump_without_articles_is_refused_with_the_numbers(write, build):
    path = write(page(1, PROSE, namespace=1), page(2, "#REDIRECT [[A]]", redirect='<redirect title="A" />'))
    with pytest.raises(UserError, match=r"some\.xml\.bz2 has no article with prose: of 2 pages 0 are left"):
        build(path)


def test_articles_that_are_all_too_short_are_refused(write, build):
    with pytest.raises(UserError, match=r"corpus\.min_characters"):
        build(write(page(1, PROSE)), min_characters=1000)


def test_a_corpus_that_is_all_held_out_is_refused(write, build):
    held_out = [number for number in range(1, 100) if Partitioner(4, 0.3).bucket(number) >= 4]
    with pytest.raises(UserError, match=f"all {len(held_out)} documents are held out; lower corpus.held_out"):
        build(write(*(page(number, PROSE) for number in held_out)), held_out=0.3)


@pytest.fixture
def damaged(pydoc, tmp_path):
    """A byte in the middle is another one."""
    content = bytearray(pydoc.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "damaged.xml.bz2"
    path.write_bytes(content)
    return path


def test_a_damaged_block_is_refused_with_its_place(damaged, build):
    with pytest.raises(UserError, match=r"damaged\.xml\.bz2 is damaged: the bz2 block at byte"):
        build(damaged)


@pytest.mark.parametrize("size", [10_000, 1 << 20])
def test_a_damaged_block_is_skipped_and_counted_if_asked_for(size, damaged, pydoc, build, reference, monkeypatch):
    monkeypatch.setattr(units, "SMALLEST_SLICE", size)
    results = build(damaged, on_corrupt="skip").manifest.results
    (whole,) = dumps.slices(damaged, 1 << 30)
    damage = dumps.Damage()
    pages = list(dumps.pages(damaged, whole, "skip", damage))
    assert results["skipped_bytes"] == damage.skipped_bytes > 0
    _, sound = reference(pydoc)
    assert results["pages"] == len(pages) < sound["pages"]
    assert 0 < results["examples"] < sound["examples"]


def test_a_cut_off_dump_is_refused_before_any_worker_starts(pydoc, build, tmp_path, monkeypatch):
    path = tmp_path / "cut.xml.bz2"
    path.write_bytes(pydoc.read_bytes()[:-20_000])
    monkeypatch.setattr(workers, "finished", None)
    with pytest.raises(UserError, match=r"cut\.xml\.bz2 is truncated"):
        build(path)


def test_a_cut_off_dump_gives_what_it_has_if_asked_for(pydoc, build, tmp_path):
    path = tmp_path / "cut.xml.bz2"
    path.write_bytes(pydoc.read_bytes()[:-20_000])
    results = build(path, on_corrupt="skip").manifest.results
    assert results["skipped_bytes"] > 0
    assert results["documents"] > 0


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (wordpiece.SPECIAL_TOKENS[:-1], r"\[MASK\] isn't among them"),
        ((*wordpiece.SPECIAL_TOKENS, "Paris"), "lower_case is true, but the vocabulary is cased: it has 'Paris'"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused_before_any_worker_starts(pieces, message, pydoc, build, monkeypatch):
    monkeypatch.setattr(workers, "finished", None)
    with pytest.raises(UserError, match=message):
        build(pydoc, "".join(f"{piece}\n" for piece in pieces))


def test_a_missing_vocabulary_says_what_to_do(pydoc, configure, tmp_path):
    config = configure(pydoc, connect(str(tmp_path / "one")))
    with pytest.raises(DamagedError, match="this task needs that vocabulary; run the experiment again"):
        stage.run(config, connect(str(tmp_path / "other")))


# Nothing is taken for right in silence


def test_a_vocabulary_that_cannot_spell_the_text_is_refused_with_the_share(pydoc, build, monkeypatch):
    monkeypatch.setattr(units, "reduce_buckets", None)
    text = "".join(f"{piece}\n" for piece in (*wordpiece.SPECIAL_TOKENS, "the", "."))
    with pytest.raises(UserError, match=r"can't spell .*% of its pieces are \[UNK\].*corpus\.max_unknown"):
        build(pydoc, text)


def test_the_share_of_unknown_pieces_is_a_result_and_may_be_accepted(pydoc, build, configure, tmp_path):
    text = "".join(f"{piece}\n" for piece in (*wordpiece.SPECIAL_TOKENS, "the", "."))
    results = build(pydoc, text, max_unknown=1).manifest.results
    assert 0.5 < results["unknown"] / results["tokens"] < 1
    store = connect(str(tmp_path / "keys"))
    assert configure(pydoc, store, max_unknown=0.5).derivation().key == configure(pydoc, store).derivation().key


def article(number, words):
    return page(number, ". ".join(f"The {words} number {count} is in the plain" for count in range(30)) + ".")


@pytest.mark.parametrize("size", [997, 1 << 20])
def test_of_two_pages_with_one_id_the_later_one_counts(size, write, build, outcome, monkeypatch):
    monkeypatch.setattr(units, "SMALLEST_SLICE", size)
    others = [article(number, f"rain{number}") for number in range(1, 40)]
    twice = build(write(article(3, "old"), *others[:2], *others[3:], others[2]), max_unknown=1)
    assert (twice.manifest.results["documents"], twice.manifest.results["repeated_documents"]) == (39, 1)
    once = build(write(*others), max_unknown=1)
    assert once.manifest.results["repeated_documents"] == 0
    assert once.manifest.files == twice.manifest.files


def test_no_document_is_alone_in_its_shard(write, build):
    """Random next sentences are out of another document, also on a small wiki with many shards."""
    results = build(write(*(article(n, "rain") for n in range(1, 30))), shards=256, max_unknown=1).manifest.results
    assert results["documents"] == 29
    trained = [path for path in results["shards"] if path.startswith("train-")]
    assert len(trained) <= 14


def test_a_single_document_is_refused(write, build):
    number = next(number for number in range(1, 100) if Partitioner(4, 0.1).bucket(number) < 4)
    with pytest.raises(UserError, match="one document to train on"):
        build(write(article(number, "rain")), max_unknown=1)
