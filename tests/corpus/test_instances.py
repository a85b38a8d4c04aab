"""Instances are like the Model Garden's, well-formed, and drawn from (seed, document, duplicate) alone."""

import dataclasses
import hashlib
import itertools
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertline import errors
from bertline.corpus import instances
from bertline.corpus.config import CorpusConfig
from bertline.corpus.instances import InstanceOptions
from bertline.corpus.segments import Document
from bertline.examples import shards
from bertline.text import wordpiece

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data folder isn't beside this repository")
WORDS = [f"w{i}" for i in range(60)] + [f"##c{i}" for i in range(35)]
VOCABULARY = wordpiece.Vocabulary((*wordpiece.SPECIAL_TOKENS, *WORDS))


def of_sentences(id, sentences):
    return Document(id, np.concatenate([np.zeros(0, np.int32), *sentences]), np.array(list(map(len, sentences)), int))


def sentences_of(document):
    return np.split(document.pieces, np.cumsum(document.lengths)[:-1])


def document(id, *lengths, start=5):
    """Sentences of the given lengths, whose pieces tell them apart."""
    numbers = np.random.default_rng(id)
    return of_sentences(id, [numbers.integers(start, VOCABULARY.size, length).astype(np.int32) for length in lengths])


def make(documents, options, vocabulary, bucket=0):
    """All instances together."""
    parts = [
        shards.Instances.zeros(0, options.max_seq_length, options.max_predictions_per_seq),
        *instances.make(documents, options, vocabulary, bucket=bucket),
    ]
    names = [field.name for field in dataclasses.fields(shards.Instances)]
    return shards.Instances(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def options(**changes):
    return InstanceOptions(**{"max_seq_length": 32, "max_predictions_per_seq": 5, "dupe_factor": 2, **changes})


def restored(made):
    """The ids before masking."""
    ids = made.input_ids.copy()
    for row in range(len(made)):
        count = int(made.masked_lm_weights[row].sum())
        ids[row, made.masked_lm_positions[row, :count]] = made.masked_lm_ids[row, :count]
    return ids


def as_set(made):
    rows = zip(*(getattr(made, field.name) for field in dataclasses.fields(made)), strict=True)
    return sorted(b"".join(values.tobytes() for values in row) for row in rows)


documents = st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=5).map(
    lambda lengths: [document(7 * i + 1, *sizes) for i, sizes in enumerate(lengths)]
)
any_options = st.builds(
    lambda length, predictions, grams, nsp, seed, short: options(
        max_seq_length=length,
        max_predictions_per_seq=min(predictions, length - 3),
        whole_word_masking=grams > 0,
        max_ngram_size=max(1, grams),
        next_sentence=nsp,
        short_seq_prob=short,
        seed=seed,
    ),
    st.integers(5, 40),
    st.integers(1, 8),
    st.integers(0, 4),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0.0, 0.1, 1.0]),
)


@settings(deadline=None, max_examples=150)
@given(documents, any_options)
def test_instances_are_well_formed(bucket, options):
    made = make(bucket, options, VOCABULARY)
    ids = restored(made)
    cls, sep = VOCABULARY.cls_id, VOCABULARY.sep_id
    text = {tuple(s[i : i + 2]) for d in bucket for s in [d.pieces] for i in range(len(s) - 1)}
    assert len(made) >= sum(bool(len(d.pieces)) for d in bucket) * 2 * options.next_sentence
    for row in range(len(made)):
        length = int(made.input_mask[row].sum())
        assert made.input_mask[row].tolist() == [1] * length + [0] * (options.max_seq_length - length)
        assert not ids[row, length:].any()
        assert not made.segment_ids[row, length:].any()
        seps = np.flatnonzero(ids[row, :length] == sep)
        assert ids[row, 0] == cls
        assert np.count_nonzero(ids[row] == cls) == 1
        assert seps[-1] == length - 1
        if options.next_sentence:
            first, last = seps  # exactly two, and neither segment is empty
            assert 1 < first < last - 1
            assert made.segment_ids[row].tolist() == [0] * (first + 1) + [1] * (last - first) + [0] * (
                options.max_seq_length - length
            )
        else:
            assert not made.segment_ids[row].any()
            assert not made.next_sentence_labels[row].any()
        for begin, end in zip([0, *seps[:-1]], seps, strict=True):  # what lies between special tokens is running text
            run = ids[row, begin + 1 : end].tolist()
            assert set(itertools.pairwise(run)) <= text
        count = int(made.masked_lm_weights[row].sum())
        wanted = min(options.max_predictions_per_seq, max(1, round(length * options.masked_lm_prob)))
        pieces = int((ids[row] >= 5).sum())
        assert count <= wanted
        if not options.whole_word_masking:
            assert count == min(wanted, pieces)
        positions = made.masked_lm_positions[row]
        assert made.masked_lm_weights[row].tolist() == [1.0] * count + [0.0] * (len(positions) - count)
        assert np.all(np.diff(positions[:count]) > 0)
        assert np.all(made.masked_lm_ids[row, :count] >= 5)  # no special token is predicted
        assert not positions[count:].any()
        assert not made.masked_lm_ids[row, count:].any()
        untouched = np.setdiff1d(np.arange(options.max_seq_length), positions[:count])
        assert np.array_equal(made.input_ids[row, untouched], ids[row, untouched])


@settings(deadline=None, max_examples=50)
@given(documents, any_options, st.randoms())
def test_the_order_of_documents_does_not_matter(bucket, options, shuffler):
    made = make(bucket, options, VOCABULARY)
    shuffler.shuffle(bucket)
    again = make(bucket, options, VOCABULARY)
    assert all(np.array_equal(getattr(made, f.name), getattr(again, f.name)) for f in dataclasses.fields(made))


def test_a_document_is_cut_and_masked_the_same_whatever_is_beside_it():
    own = document(3, 20, 5, 9, 14, 8)

    def of_own(others):
        made = make([own, *others], options(dupe_factor=8), VOCABULARY)
        running = own.pieces.tolist()
        spans = {tuple(running[i : i + n]) for n in range(1, 30) for i in range(len(running) - n + 1)}
        kept = set()
        for row, before in enumerate(restored(made).tolist()):
            a = tuple(before[1 : before.index(VOCABULARY.sep_id)])
            if made.next_sentence_labels[row, 0] == 0 and len(a) > 2 and a in spans:
                kept.add((tuple(made.input_ids[row]), tuple(made.masked_lm_positions[row])))
        return kept

    alone = of_own([document(9, 4, 4)])
    assert len(alone) > 3
    assert of_own([document(1, 30, 2), document(2, 7), document(50, 12, 12)]) >= alone


def test_seed_duplicate_and_bucket_all_matter():
    bucket = [document(i, 9, 11, 13) for i in range(6)]
    base = make(bucket, options(), VOCABULARY)
    other_seed = make(bucket, options(seed=18), VOCABULARY)
    other_bucket = make(bucket, options(), VOCABULARY, bucket=1)
    assert as_set(base) != as_set(other_seed)
    assert as_set(base) == as_set(other_bucket)
    assert not np.array_equal(base.input_ids, other_bucket.input_ids)
    one = make(bucket, options(dupe_factor=1), VOCABULARY)
    assert set(as_set(one)) < set(as_set(base))


def test_small_buckets():
    nothing = make([], options(), VOCABULARY)
    assert (len(nothing), nothing.input_ids.shape) == (0, (0, 32))
    assert len(make([of_sentences(1, []), document(2, 0, 0)], options(), VOCABULARY)) == 0
    assert len(make([], options(next_sentence=False), VOCABULARY)) == 0
    single = make([document(1, 6)], options(), VOCABULARY)
    assert single.next_sentence_labels.tolist() == [
        [1],
        [1],
    ]  # one sentence: B is "random", of the only document there is
    one_piece = make([document(1, 1)], options(), VOCABULARY)
    assert one_piece.input_mask.sum(axis=1).tolist() == [5, 5]


def test_more_rows_than_are_worked_on_at_a_time_change_nothing(monkeypatch):
    bucket = [document(i, 9, 11, 13) for i in range(30)]
    for changes in ({}, {"whole_word_masking": True, "max_ngram_size": 3}, {"next_sentence": False}):
        expected = make(bucket, options(**changes), VOCABULARY)
        with monkeypatch.context() as patched:
            patched.setattr(instances, "_ROWS", 7)
            made = make(bucket, options(**changes), VOCABULARY)
        assert all(np.array_equal(getattr(made, f.name), getattr(expected, f.name)) for f in dataclasses.fields(made))


@pytest.mark.parametrize("next_sentence", [True, False])
def test_memory_does_not_hold_the_duplicates(next_sentence):
    """500,000 pieces and 20 duplicates: all instances would take 190 MB, as records 85 MB."""
    code = f"""if True:
        import resource
        import numpy as np
        from bertline.corpus import instances
        from bertline.corpus.segments import Document
        from bertline.text import wordpiece

        vocabulary = wordpiece.Vocabulary((*wordpiece.SPECIAL_TOKENS, *map(str, range(1000))))
        pieces, lengths = np.arange(500, dtype=np.int32) + 5, np.full(25, 20)
        documents = [Document(number, pieces, lengths) for number in range(1000)]

        def peak():
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

        def made(duplicates):
            options = instances.InstanceOptions(dupe_factor=duplicates, next_sentence={next_sentence})
            return sum(len(some) for some in instances.make(documents, options, vocabulary))

        made(1)
        before = peak()
        assert made(20) > 80_000
        print(peak() - before)
    """
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(output) < 50_000  # kB


def test_whole_words_are_masked_together():
    bucket = [document(i, 15, 15, 15) for i in range(50)]
    made = make(bucket, options(whole_word_masking=True, max_ngram_size=2), VOCABULARY)
    ids = restored(made)
    is_masked = np.zeros(ids.shape, bool)
    rows, columns = np.nonzero(made.masked_lm_weights)
    is_masked[rows, made.masked_lm_positions[rows, columns]] = True
    continues = ~VOCABULARY.starts_word[ids[:, 1:]] & (ids[:, :-1] >= 5) & (ids[:, 1:] >= 5)
    assert continues.sum() > 500
    assert np.all(is_masked[:, 1:][continues] == is_masked[:, :-1][continues])
    # All pieces of a word become [MASK], or none; only a random piece may be [MASK] too, not one beside a kept piece.
    both = continues & is_masked[:, 1:]
    became = made.input_ids == VOCABULARY.mask_id
    kept = made.input_ids == ids
    assert np.sum(became[:, 1:] & became[:, :-1] & both) > 100
    assert np.sum(kept[:, 1:] & kept[:, :-1] & both) > 10
    assert not np.any(became[:, 1:] & kept[:, :-1] & both)
    assert not np.any(kept[:, 1:] & became[:, :-1] & both)


def test_full_sentences_hold_all_text_once_a_duplicate():
    bucket = [document(i, 9, 70, 13, 1) for i in range(9)]
    made = make(bucket, options(next_sentence=False, dupe_factor=3), VOCABULARY)
    ids = restored(made)
    found = np.bincount(ids[ids >= 5], minlength=VOCABULARY.size)
    text = np.bincount(np.concatenate([d.pieces for d in bucket]), minlength=VOCABULARY.size)
    assert np.array_equal(found, 3 * text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seq_length": 4}, r"max_seq_length must be in \[5, 4096\], not 4"),
        ({"max_predictions_per_seq": 30}, r"\[1, max_seq_length - 3 = 29\], not 30"),
        ({"masked_lm_prob": 0.0}, "not 0.0"),
        ({"short_seq_prob": 1.5}, "not 1.5"),
        ({"dupe_factor": 0}, "not 0"),
        ({"max_ngram_size": 2}, "max_ngram_size is 2, .* set whole_word_masking"),
        ({"max_ngram_size": 17, "whole_word_masking": True}, "not 17"),
        ({"seed": -1}, "not -1"),
    ],
)
def test_impossible_options_are_refused_with_the_numbers(changes, message):
    with pytest.raises(errors.UserError, match=message):
        options(**changes)


@pytest.mark.parametrize(
    ("bucket", "message"),
    [
        ([document(4, 3), document(4, 3)], "two documents of a bucket have the id 4"),
        ([of_sentences(-1, [np.array([5])])], "found -1"),
        ([of_sentences(1, [np.array([100])])], r"\[0, 100\), the vocabulary's size; found 100 to 100"),
        ([of_sentences(1, [np.array([9, 3])])], r"a document contains \[SEP\]"),
    ],
)
def test_bad_documents_are_refused_with_the_numbers(bucket, message):
    with pytest.raises(errors.UserError, match=message):
        make(bucket, options(), VOCABULARY)


DIGESTS = {
    "pieces": ({}, "a591d23a52a08510b3396366cf517f396d9d16fc801dc31a0d451debf57073ae"),
    "words": ({"whole_word_masking": True}, "ed0f2ecfbeb69923c5a3c1dc30d71664b006dcf624a2fb44ec7cea561658f37d"),
    "ngrams": (
        {"whole_word_masking": True, "max_ngram_size": 3},
        "544777d34bb3766484d4562f5b4bf0c4a0da8470915589f3374f186a4a96ef33",
    ),
    "full sentences": ({"next_sentence": False}, "8a7cd15423a83e096e8baad9e6b8e3c7d1b36d258a35c576405b53cf4ce42ce7"),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_what_is_made_changes_only_with_the_algorithm_version(name):
    changes, digest = DIGESTS[name]
    assert CorpusConfig.ALGORITHM_VERSION == 3
    # Sentences by arithmetic: numpy doesn't promise the same Generator numbers for ever.
    bucket = [
        of_sentences(i, [np.arange(i * 7 + s, i * 7 + s * 5 + 9, dtype=np.int32) % 95 + 5 for s in range(i + 1)])
        for i in range(8)
    ]
    made = make(bucket, options(**changes), VOCABULARY, bucket=3)
    everything = b"".join(getattr(made, field.name).tobytes() for field in dataclasses.fields(made))
    assert hashlib.sha256(everything).hexdigest() == digest


@pytest.mark.usefixtures("tensorflow")
@needs_data
@pytest.mark.filterwarnings("ignore")  # TensorFlow and tf_keras, which the Model Garden's module imports, warn a lot
@pytest.mark.parametrize("changes", [{}, {"whole_word_masking": True}], ids=["pieces", "words"])
def test_statistics_are_those_of_create_pretraining_data(changes):
    from official.nlp.data import create_pretraining_data as theirs

    vocabulary = wordpiece.read(DATA / "vocab" / "bert-base-uncased-vocab.txt")
    tokenizer = wordpiece.Tokenizer(vocabulary, lower_case=True)
    with tarfile.open(DATA / "wiki_text" / "enwiki-featured-part.tar.xz") as archive:
        member = archive.next()
        while not member.isfile():
            member = archive.next()
        text = archive.extractfile(member).read().decode()
    # Twelve sentences a document: many documents, because a short target length goes for a whole document.
    sentences = [sentence for line in text.split("\n") for sentence in line.split(". ") if sentence.strip()][:9_000]
    encoded = [ids for ids in tokenizer.encode_batch(sentences) if len(ids)]
    bucket = [of_sentences(begin, encoded[begin : begin + 12]) for begin in range(0, len(encoded), 12)]
    asked = InstanceOptions(dupe_factor=2, **changes)
    ours = make(bucket, asked, vocabulary)
    tokens = [[[vocabulary.pieces[i] for i in sentence] for sentence in sentences_of(d)] for d in bucket]
    rng = random.Random(1)
    of_documents = [
        theirs.create_instances_from_document(
            tokens, index, 128, 0.1, 0.15, 20, vocabulary.pieces, rng, asked.whole_word_masking, None
        )
        for _ in range(asked.dupe_factor)
        for index in range(len(tokens))
    ]
    made = [instance for of_document in of_documents for instance in of_document]

    def facts(length, label, before, after, in_b):
        """[figure]: (mean, standard deviation, how many)"""
        after, before = np.array(after), np.array(before)
        masked = after == vocabulary.mask_id
        kept = (after == before) & ~masked
        columns = {
            "length": length,
            "pieces in B": in_b,
            "short": np.array(length) < 110,
            "random next": label,
            "share of [MASK]": masked,
            "share kept": kept,
            "share random": ~masked & ~kept,
        }
        return {name: (np.mean(c), np.std(c), len(c)) for name, c in columns.items()}

    id_of = vocabulary.ids
    their_facts = facts(
        [len(i.tokens) for i in made],
        [i.is_random_next for i in made],
        [id_of[t] for i in made for t in i.masked_lm_labels],
        [id_of[i.tokens[p]] for i in made for p in i.masked_lm_positions],
        [sum(i.segment_ids) for i in made],
    )
    rows, columns = np.nonzero(ours.masked_lm_weights)
    our_facts = facts(
        ours.input_mask.sum(axis=1),
        ours.next_sentence_labels[:, 0],
        ours.masked_lm_ids[rows, columns],
        ours.input_ids[rows, ours.masked_lm_positions[rows, columns]],
        ours.segment_ids.sum(axis=1),
    )
    # Five standard errors of the difference of two such sums.
    deviation = np.std([len(of_document) for of_document in of_documents]) * (2 * len(of_documents)) ** 0.5
    assert len(ours) == pytest.approx(len(made), abs=5 * deviation)
    assert 5 * deviation < 0.1 * len(made)
    assert ours.masked_lm_weights.sum() / ours.input_mask.sum() == pytest.approx(
        sum(len(i.masked_lm_positions) for i in made) / sum(len(i.tokens) for i in made), rel=0.01
    )
    for name, (mean, deviation, count) in their_facts.items():
        our_mean, _, our_count = our_facts[name]
        # Five standard errors of the difference: by chance once in two million, but cut and masks of a document are
        # not independent (a short target length goes for all of it), so twice that.
        allowed = 10 * deviation * (1 / count + 1 / our_count) ** 0.5
        assert abs(our_mean - mean) < allowed, f"{name}: {our_mean} against {mean}"
