"""The same corpus comes out whoever makes it and however the work is cut, and its statistics are true."""

import bz2
import hashlib
import json
import re

import numpy as np
import pytest

from bertline.corpus import buckets, passes, stage, units, workers
from bertline.corpus.buckets import Partitioner
from bertline.corpus.config import CorpusConfig
from bertline.errors import UserError
from bertline.examples import shards
from bertline.sources.files import Source
from bertline.store.backends import connect
from bertline.text import sentences, wordpiece
from bertline.wikipedia import dumps, extraction


@pytest.mark.parametrize("count", [1, 7])
def test_any_number_of_workers_makes_the_same_bytes(count, pydoc, build, outcome, reference, monkeypatch):
    """The reference had two."""
    monkeypatch.setattr(units, "SMALLEST_SLICE", 10_000)
    monkeypatch.setenv(workers.ENVIRONMENT, str(count))
    realization = build(pydoc)
    assert outcome(realization) == reference(pydoc)
    assert realization.manifest.measurements["workers"] == count


@pytest.mark.parametrize("size", [997, 25_000])
def test_slices_of_any_size_make_the_same_shards(size, pydoc, build, outcome, reference, monkeypatch):
    monkeypatch.setattr(units, "SMALLEST_SLICE", size)
    monkeypatch.setattr(units, "SLICES", 1)
    monkeypatch.setattr(units, "LARGEST_SLICE", size)
    assert outcome(build(pydoc)) == reference(pydoc)


def test_a_program_that_slices_differently_goes_on_from_another_ones_shards_only(
    pydoc, configure, outcome, reference, tmp_path, monkeypatch
):
    store = connect(str(tmp_path / "store"))
    config = configure(pydoc, store)
    finished = workers.finished

    def three_units(*arguments):
        for number, result in enumerate(finished(*arguments)):
            if number == 3:
                raise RuntimeError("stop")
            yield result

    monkeypatch.setattr(units, "SMALLEST_SLICE", 10_000)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "finished", three_units)
        with pytest.raises(RuntimeError, match="stop"):
            stage.run(config, store)
    assert len([found for found in store.list("objects/corpus/") if "rolling/map/" in found.name]) == 2 * 3
    monkeypatch.setattr(units, "SMALLEST_SLICE", 21_000)
    assert outcome(stage.run(config, store)) == reference(pydoc)


def test_what_is_done_isnt_done_again(pydoc, configure, tmp_path, monkeypatch):
    store = connect(str(tmp_path / "store"))
    config = configure(pydoc, store)
    first = stage.run(config, store)
    monkeypatch.setattr(workers, "pool", None)
    assert stage.run(config, store) == first
    assert not list(store.list(f"{first.prefix}rolling/"))


def test_on_object_storage_the_same_bytes_come_out(pydoc, gs_uri, configure, outcome, reference, monkeypatch):
    monkeypatch.setattr(units, "SMALLEST_SLICE", 25_000)
    store = connect(gs_uri)
    realization = stage.run(configure(pydoc, store), store)
    assert outcome(realization) == reference(pydoc)
    assert realization.verify() == []
    store._connected[1].client.close()


def test_compressed_shards_hold_the_same_examples(pydoc, build, tmp_path):
    def examples(realization):
        paths = realization.stage(realization.paths(), tmp_path)
        return [shards.read(path).input_ids.tolist() for path in paths]

    plain, gzipped = build(pydoc), build(pydoc, compression="gzip")
    assert {path.removesuffix(".gz") for path in gzipped.paths()} == set(plain.paths())
    assert all(path.endswith(".gz") for path in gzipped.paths())
    assert examples(gzipped) == examples(plain)


# Statistics, on real pages


@pytest.fixture(scope="module")
def real(enwiki, configure, tmp_path_factory):
    """The stage's realization of the real dump, and its config."""
    store = connect(str(tmp_path_factory.mktemp("real")))
    config = configure(enwiki, store, min_characters=200, duplicates=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(workers.ENVIRONMENT, "2")
        return stage.run(config, store), config


@pytest.fixture(scope="module")
def real_documents(real, enwiki, vocabulary):
    """[(page id, words, its sentences' pieces)] of the real dump, by the library's functions alone."""
    corpus = real[1].corpus
    (part,) = dumps.slices(enwiki, 1 << 30)
    tokenizer = wordpiece.Tokenizer(vocabulary, lower_case=True)
    documents = []
    for identity, paragraphs in extraction.prose(enwiki, part, corpus, extraction.Read()):
        texts = [text for paragraph in paragraphs for text in sentences.split(paragraph, "en")]
        words = sum(len(paragraph.split()) for paragraph in paragraphs)
        documents.append((identity, words, [ids.tolist() for ids in tokenizer.encode_batch(texts) if len(ids)]))
    return documents


def test_statistics_are_those_of_the_library_functions(real, real_documents, enwiki):
    results = real[0].manifest.results
    xml = bz2.decompress(enwiki.read_bytes())
    assert results["pages"] == xml.count(b"<page>") == 206
    # 106 articles that aren't redirects, less disambiguation pages and short ones.
    assert results["articles"] == results["documents"] == len(real_documents) == 97
    assert results["words"] == sum(words for _, words, _ in real_documents)
    assert results["sentences"] == sum(len(document) for _, _, document in real_documents)
    assert results["tokens"] == sum(len(sentence) for _, _, document in real_documents for sentence in document)
    partitioner = Partitioner(4, 0.1)
    assert (
        results["held_out_documents"] == sum(partitioner.bucket(identity) >= 4 for identity, _, _ in real_documents) > 0
    )
    assert results["skipped_bytes"] == 0


def test_examples_are_counted_as_the_shards_hold_them(real, tmp_path):
    realization, _ = real
    results = realization.manifest.results
    found = {
        path: len(shards.read(local))
        for path, local in zip(realization.paths(), realization.stage(realization.paths(), tmp_path), strict=True)
    }
    assert found == results["shards"]
    assert list(results["shards"]) == sorted(results["shards"], key=lambda path: (path.startswith("held-out"), path))
    assert sum(found.values()) == results["examples"] + results["held_out_examples"]
    assert sum(count for path, count in found.items() if path.startswith("train-")) == results["examples"]


def test_held_out_text_is_never_trained_on(real, real_documents, vocabulary, tmp_path):
    """By every run of ten pieces that only one side's documents have."""
    realization, config = real
    partitioner = Partitioner(config.corpus.shards, config.corpus.held_out)
    weights = np.random.default_rng(1).integers(-(2**62), 2**62, 10)

    def runs(pieces):
        """A number for every ten neighbours."""
        width = pieces.shape[-1] - 9
        return sum(weight * pieces[..., start : start + width] for start, weight in enumerate(weights)).ravel()

    of_side = {False: [], True: []}
    for identity, _, document in real_documents:
        of_side[partitioner.bucket(identity) >= config.corpus.shards].append(runs(np.concatenate(document)))
    train, held_out = (np.unique(np.concatenate(of_side[side])) for side in (False, True))
    only_train, only_held_out = np.setdiff1d(train, held_out), np.setdiff1d(held_out, train)
    for path, local in zip(realization.paths(), realization.stage(realization.paths(), tmp_path), strict=True):
        made = shards.read(local)
        ids = made.input_ids.copy()
        rows, columns = np.nonzero(made.masked_lm_weights)
        ids[rows, made.masked_lm_positions[rows, columns]] = made.masked_lm_ids[rows, columns]
        found = np.unique(runs(ids))
        own, other = (only_train, only_held_out) if path.startswith("train-") else (only_held_out, only_train)
        assert np.isin(found, own).any()
        assert not np.isin(found, other).any()


def test_every_document_is_in_one_bucket_of_one_slice(real, real_documents, enwiki, vocabulary, tmp_path):
    _, config = real
    (tmp_path / "vocab.txt").write_text(vocabulary.text)
    heads = {}
    for part in dumps.slices(enwiki, 400_000):
        output = tmp_path / f"{part.index}.buckets"
        unit = passes.MapUnit(enwiki, part, config.corpus, tmp_path / "vocab.txt", True, output)
        _, written = passes.map_slice(unit)
        heads[output] = buckets.Head.of(output.read_bytes()[: written.head])
    partitioner = Partitioner(config.corpus.shards, config.corpus.held_out)
    found = {}
    for bucket in range(partitioner.count):
        ranges = [(path, head, head.range(bucket)[0]) for path, head in heads.items()]
        for document in buckets.read(head.piece(bucket, 0, path, begin) for path, head, begin in ranges):
            assert partitioner.bucket(document.id) == bucket
            assert document.id not in found
            found[document.id] = [ids.tolist() for ids in np.split(document.pieces, np.cumsum(document.lengths)[:-1])]
    assert found == {identity: document for identity, _, document in real_documents}


# What the algorithm version stands for

PAGES = {
    12: "'''Anarchism''' is a [[political philosophy]] that is sceptical of authority. It began, e.g. in Europe, in "
    "the 19th century.<ref>A note.</ref> Dr. Smith wrote {{lang|fr|about it}} at length!\n\n== History ==\nMuch "
    "happened. * It isn't prose.\n\nThen came 1936: a year of change; nobody knew why.",
    25: "{{Infobox x|y=z}}\n'''Autism''' is a condition. It was described by [[Leo Kanner|Kanner]] in 1943. A third "
    "sentence follows here, and “a fourth” too.",
    39: "'''Albedo''' (from ''albus'') is the fraction of sunlight that is reflected. Snow has 0.9; coal has 0.04. "
    "Why? Because of its colour.",
    290: "'''A''' is the first letter. Ångström wrote naïve café texts with it — often. Это не английский.",
    303: "'''Alabama''' is a state. It borders [[Georgia (U.S. state)|Georgia]], Florida and the Gulf. It has hills.",
    305: "#REDIRECT [[Anarchism]]",
    307: "'''Lincoln''' was president. He was born in a cabin. He spoke at Gettysburg. The speech was short.",
}


@pytest.fixture
def tiny(tmp_path):
    """A few pages, written here."""
    path = tmp_path / "tiny.xml"
    path.write_text(
        "<mediawiki>\n"
        + "".join(
            f"<page><title>P{number}</title><ns>0</ns><id>{number}</id><revision><id>1</id><text>"
            f"{text.replace('<', '&lt;').replace('>', '&gt;')}</text></revision></page>\n"
            for number, text in PAGES.items()
        )
        + "</mediawiki>\n"
    )
    return path


LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789.,;:!?()", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
SMALL_VOCABULARY = "\n".join([*wordpiece.SPECIAL_TOKENS, *LETTERS, "the", "is", "it", "was", "##ing", "##ed", "of", ""])


def test_the_bytes_change_only_with_the_algorithm_version(tiny, build):
    """If this fails, the corpus' bytes are others: raise CorpusConfig.ALGORITHM_VERSION, then correct the digest."""
    manifest = build(
        tiny, SMALL_VOCABULARY, shards=2, held_out=0.3, sequence_length=32, max_predictions=5, max_unknown=0.1
    ).manifest
    made = json.dumps([{file.path: file.sha256 for file in manifest.files}, manifest.results], sort_keys=True)
    assert manifest.results["articles"] == 6
    assert manifest.results["held_out_examples"] > 0
    digest = hashlib.sha256(made.encode()).hexdigest()
    expected = "52f108f7bd5c26f86787def766b252684325f0a9c313242f9db65e322410cf2c"
    assert (CorpusConfig.ALGORITHM_VERSION, digest) == (3, expected)


@pytest.mark.parametrize("at", [0, 300, -1], ids=["size", "index", "piece"])
def test_a_damaged_intermediate_file_is_made_again(at, tiny, configure, outcome, reference, tmp_path, monkeypatch):
    """What one attempt left and a disk damaged neither counts nor stops the next one."""
    store = connect(str(tmp_path / "store"))
    config = configure(tiny, store)
    with monkeypatch.context() as patch:
        patch.setattr(units, "reduce_buckets", None)
        with pytest.raises(TypeError):
            stage.run(config, store)
    (name,) = [found.name for found in store.list("objects/corpus/") if found.name.endswith(".buckets")]
    path = store.local_path(name)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert outcome(stage.run(config, store)) == reference(tiny)


def test_a_damaged_receipt_does_not_count(tiny, configure, outcome, reference, tmp_path, monkeypatch):
    """Its figures would become results, and another figure is no mistake by itself."""
    store = connect(str(tmp_path / "store"))
    config = configure(tiny, store)
    with monkeypatch.context() as patch:
        patch.setattr(units, "reduce_buckets", None)
        with pytest.raises(TypeError):
            stage.run(config, store)
    (name,) = [found.name for found in store.list("objects/corpus/") if found.name.endswith("map/00000.json")]
    content = store.get(name)[0]
    figure = re.search(rb'"words": \d*(\d)', content)
    flipped = chr(content[figure.start(1)] ^ 1).encode()
    store.put(name, content[: figure.start(1)] + flipped + content[figure.end(1) :])
    assert outcome(stage.run(config, store)) == reference(tiny)


# What the experiment chooses


def test_a_table_of_templates_counts_by_its_content(tmp_path, configure, outcome):
    text = "It is {{my far|5}} away from here. " * 3
    pages = "".join(
        f"<page><title>A{number}</title><ns>0</ns><id>{number}</id><revision><text>{text}</text></revision></page>"
        for number in range(1, 30)
    )
    dump = tmp_path / "wiki.xml"
    dump.write_text(f"<mediawiki>{pages}</mediawiki>")
    store = connect(str(tmp_path / "store"))

    def made(name, content):
        (tmp_path / name).write_text(content)
        config = configure(dump, store)
        source = Source(url=str(tmp_path / name)).pinned()
        config = config.model_copy(update={"corpus": config.corpus.model_copy(update={"templates": source})})
        return stage.run(config, store).manifest

    known = made("a.yaml", '"{1} feet": [my far]\n')
    assert known == made("b.yaml", '"{1} feet": [my far]\n'), "another path is the same table"
    hidden = made("a.yaml", '"": [my far]\n')
    assert known.results["words"] == 29 * 21
    assert hidden.results["words"] == 29 * 15
    assert known.results["dropped_templates"] == hidden.results["dropped_templates"] == {}
    with pytest.raises(UserError, match=r"no article with prose"):
        stage.run(configure(dump, store), store)


def test_examples_for_mlm_alone_are_full_and_have_no_second_segment(pydoc, build, tmp_path):
    realization = build(pydoc, next_sentence=False, duplicates=1)
    paths = realization.stage(realization.paths("train-"), tmp_path)
    examples = [shards.read(path) for path in paths]
    assert not any(each.segment_ids.any() or each.next_sentence_labels.any() for each in examples)
    lengths = np.concatenate([each.input_mask.sum(axis=1) for each in examples])
    assert lengths.mean() > 100, "packed over the ends of documents"
    assert realization.manifest.results["examples"] < build(pydoc, duplicates=1).manifest.results["examples"]


def test_ngrams_are_masked_together(pydoc, build, vocabulary, tmp_path):
    def neighbours(**changes):
        realization = build(pydoc, duplicates=1, whole_word_masking=True, **changes)
        examples = [shards.read(path) for path in realization.stage(realization.paths("train-"), tmp_path)]
        positions = np.concatenate([each.masked_lm_positions for each in examples])
        chosen = np.concatenate([each.masked_lm_weights for each in examples]) > 0
        return ((np.diff(positions, axis=1) == 1) & chosen[:, 1:]).sum() / chosen.sum()

    assert neighbours(max_ngram=3) > 1.3 * neighbours()
