"""WordPiece: the vocabulary and the tokenizer, for every component. Training is the vocabulary stage's.

The rules are BERT's, as the Model Garden's ``tokenization.FullTokenizer`` applies them. A text becomes *words*: control
characters are dropped, CJK characters set apart, an uncased text lower-cased and stripped of accents, and it is split
at blanks and around every punctuation mark. A word becomes *pieces*, greedily the longest that the vocabulary has; a
word that can't be cut so, or one of more than 400 characters, is ``[UNK]``.

None of these rules looks over a blank. So a text is split at blanks first, and what comes of each part ("Edwards," →
two words) is remembered: language repeats itself, and most of the work is one look-up a part. On one core this is
several times faster than Hugging Face's ``tokenizers`` on the same text, and it is exact where that isn't: there,
private-use characters are dropped, a capital sigma at a word's end becomes the wrong letter, the Unicode tables are
older (so that newer marks don't split words), and one CJK range starts 256 characters late. Here the tables are
Python's own, which the Model Garden uses. A test walks through all of Unicode.

Special tokens are never recognised in a text: "[SEP]" typed by an author is three words, brackets and all.
"""

import dataclasses
import functools
import hashlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bertline import errors
from bertline.text import words

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""In the order in which BERT's vocabularies list them. A trained vocabulary starts with them, so that [PAD] is 0."""

CONTINUATION = "##"
"""How a piece begins that isn't the first of its word."""

MAX_WORD_CHARACTERS = 400
"""A longer word is [UNK]. Google's BERT has 200, the Model Garden 400, Hugging Face's default is 100."""


MAX_ACCENTED_SHARE = 0.001
"""Vocabularies that were made of text without accents have a few such pieces all the same, by other Unicode tables."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The pieces; a piece's place is its id. Made by :func:`read` and :func:`parse`, which check it, or trained."""

    pieces: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many pieces there are, special tokens included."""
        return len(self.pieces)

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """Piece → id."""
        return {piece: index for index, piece in enumerate(self.pieces)}

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""
        return self.ids["[PAD]"]

    @property
    def unk_id(self) -> int:
        """Id of [UNK]."""
        return self.ids["[UNK]"]

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""
        return self.ids["[CLS]"]

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""
        return self.ids["[SEP]"]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self.ids["[MASK]"]

    @property
    def text(self) -> str:
        """The text of a vocab.txt: one piece a line."""
        return "".join(f"{piece}\n" for piece in self.pieces)

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of :attr:`text` in UTF-8; for a file in canonical form that of the file itself."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @functools.cached_property
    def cased_piece(self) -> str | None:
        """The first piece with an upper-case letter, None if there is none. "[MASK]" and "[unused1]" don't count."""
        return next((piece for piece in self.pieces if not _is_bracketed(piece) and piece != piece.lower()), None)

    @functools.cached_property
    def accented_pieces(self) -> tuple[str, ...]:
        """Pieces that no lower-cased text without accents contains, such as "schön" and "##й"."""
        pieces = (piece for piece in self.pieces if not piece.isascii() and not _is_bracketed(piece))
        return tuple(piece for piece in pieces if words.uncased(piece) != piece.lower())

    @functools.cached_property
    def starts_word(self) -> npt.NDArray[np.bool_]:
        """True for a piece that begins a word, for whole-word masking. Shape [size]."""
        starts = np.array([not piece.startswith(CONTINUATION) for piece in self.pieces], dtype=np.bool_)  # [size]
        starts.flags.writeable = False
        return starts


def read(path: Path) -> Vocabulary:
    """Reads a vocab.txt.

    Raises:
        UserError: there is no such file, or it isn't a BERT vocabulary.
    """
    try:
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")  # a byte order mark is no part of a piece
    except FileNotFoundError as error:
        raise errors.UserError(f"there is no vocabulary at {path}") from error
    except UnicodeDecodeError as error:
        raise errors.UserError(f"{path} isn't a vocabulary: byte {error.start} isn't UTF-8") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Vocabulary:
    """Parses the text of a vocab.txt; ``where`` names it in messages.

    Raises:
        UserError: the text is empty, a piece is missing, repeated or blank.
    """
    # Only "\n" ends a line: multilingual pieces may hold what str.splitlines takes for a line break.
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise errors.UserError(f"{where} is empty; a vocabulary has one piece a line")
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        # Google's Chinese vocabulary has U+2028 as a piece, which str.strip takes for a blank.
        piece = line.strip() or line.strip(" \t\r")
        if not piece:
            raise errors.UserError(f"{where}, line {number}: blank; a vocabulary has one piece a line")
        if piece in first_line:
            raise errors.UserError(f"{where}, line {number}: {piece!r} is already on line {first_line[piece]}")
        first_line[piece] = number
    missing = [token for token in SPECIAL_TOKENS if token not in first_line]
    if missing:
        raise errors.UserError(
            f"{where} has {len(first_line):,} pieces, but {', '.join(missing)} isn't among them; "
            f"a BERT vocabulary needs {' '.join(SPECIAL_TOKENS)}"
        )
    return Vocabulary(tuple(first_line))


class Tokenizer:
    """Text to piece ids, token for token as the Model Garden's FullTokenizer."""

    def __init__(self, vocabulary: Vocabulary, lower_case: bool) -> None:
        """Makes a tokenizer.

        Raises:
            UserError: lower-casing for a vocabulary with upper-case pieces, or with more than `MAX_ACCENTED_SHARE` of
                pieces that have accents: they could never be used.
        """
        if lower_case and vocabulary.cased_piece is not None:
            raise errors.UserError(
                f"lower_case is true, but the vocabulary is cased: it has {vocabulary.cased_piece!r}, "
                "which no lower-cased text contains; set lower_case to false or take an uncased vocabulary"
            )
        if lower_case and len(vocabulary.accented_pieces) > MAX_ACCENTED_SHARE * vocabulary.size:
            raise errors.UserError(
                "lower_case is true, which also strips accents, but the vocabulary has "
                f"{len(vocabulary.accented_pieces):,} pieces of {vocabulary.size:,} with accents, such as "
                f"{vocabulary.accented_pieces[0]!r}, which no text without accents contains; set lower_case to false "
                "and take a cased vocabulary, or take one that was made of text without accents"
            )
        self.vocabulary = vocabulary
        self.lower_case = lower_case
        self._known = _KnownParts(vocabulary, lower_case)
        self._lock = threading.Lock()

    @property
    def starts_word(self) -> npt.NDArray[np.bool_]:
        """See :attr:`Vocabulary.starts_word`. Shape [size]."""
        return self.vocabulary.starts_word

    def encode(self, text: str) -> list[int]:
        """Ids of the text's pieces, without [CLS] and [SEP]."""
        ids: list[int] = self.encode_batch([text]).pieces.tolist()
        return ids

    def encode_batch(self, texts: Sequence[str]) -> "Encoded":
        """:meth:`encode` of each text; the more texts, the faster. Threads wait for each other."""
        with self._lock:
            return self._encoded(texts)

    def _encoded(self, texts: Sequence[str]) -> "Encoded":
        if len(self._known) > _REMEMBERED:  # what is frequent is soon known again
            self._known = _KnownParts(self.vocabulary, self.lower_case)
        rows: list[npt.NDArray[np.int64]] = []
        counts: list[int] = []  # parts of each text
        for begin in range(0, len(texts), _TEXTS):
            split = words.split_all(texts[begin : begin + _TEXTS])
            found = list(itertools.chain.from_iterable(split))
            rows.append(np.fromiter(map(self._known.__getitem__, found), np.int64, len(found)))  # [parts]
            counts += map(len, split)
        pieces, ends = self._known.pieces(np.concatenate([np.zeros(0, np.int64), *rows]))  # [pieces], [parts]
        text_ends = np.concatenate([[0], ends])[np.cumsum(np.array(counts, np.int64))]  # [texts]
        return Encoded(pieces, np.diff(text_ends, prepend=0))


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """What texts became, end to end. Iterating gives each text's ids."""

    pieces: npt.NDArray[np.int32]
    """Ids, without [CLS] and [SEP]. Shape [pieces]."""
    lengths: npt.NDArray[np.int64]
    """How many of them each text has. Shape [texts]."""

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        ends = np.cumsum(self.lengths).tolist()
        return (self.pieces[begin:end] for begin, end in itertools.pairwise([0, *ends]))


_TEXTS = 64
"""Texts split and looked up at a time: their parts are still in the processor's cache when they are looked up."""

_REMEMBERED = 2**18
"""Parts of text that a tokenizer remembers before it forgets all of them, and the words in them. About 200 bytes each:
2 * 262,144 * 200 bytes = 100 MB at most, and what one batch adds."""


class _KnownParts(dict[str, int]):
    """A part of text → its row in a table of pieces. A part that is looked up for the first time gets the next row."""

    def __init__(self, vocabulary: Vocabulary, lower_case: bool) -> None:
        super().__init__()
        self._lower_case = lower_case
        self._cuts = _Cuts(vocabulary)
        self._fresh: list[str] = []
        """Parts whose rows are still to be made."""
        self._ids = np.zeros(0, np.int32)
        self._begins = self._lengths = np.zeros(0, np.int64)
        """Begin and length of each row's pieces in `_ids`. [parts]"""

    def __missing__(self, part: str) -> int:
        row = self[part] = len(self)
        self._fresh.append(part)
        return row

    def pieces(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids of parts' pieces, by their rows, end to end, and where each part's end. Shapes [pieces], [parts]."""
        self._make_rows()
        lengths = self._lengths[rows]  # [parts]
        ends = np.cumsum(lengths)  # [parts]
        places = np.repeat(self._begins[rows] - (ends - lengths), lengths)  # [pieces]
        places += np.arange(len(places))
        return self._ids[places], ends

    def _make_rows(self) -> None:
        """Makes the rows of all fresh parts together: some calls a batch, not a part."""
        ids, begins, lengths = [self._ids], np.empty(len(self), np.int64), np.empty(len(self), np.int64)
        known, held = len(self._lengths), len(self._ids)
        begins[:known], lengths[:known] = self._begins, self._lengths
        is_plain = np.array([part.isascii() and part.isprintable() for part in self._fresh], np.bool_)  # [fresh]
        for separator, chosen in ((words.SPACE, is_plain), (words.LINE, ~is_plain)):
            rows = np.flatnonzero(chosen)
            if not len(rows):
                continue
            text = separator.join(itertools.compress(self._fresh, chosen.tolist())) + separator
            cuts = map(self._cuts.__getitem__, words.of(text, self._lower_case))
            flat = np.fromiter(itertools.chain.from_iterable(cuts), np.int32)
            is_end = flat == _END
            ends = np.flatnonzero(is_end) - np.arange(len(rows))  # [rows], the separators before them are taken out
            lengths[known + rows] = np.diff(ends, prepend=0)
            begins[known + rows] = held + ends - lengths[known + rows]
            ids.append(flat[~is_end])
            held += len(ids[-1])
        self._ids, self._begins, self._lengths = np.concatenate(ids), begins, lengths
        self._fresh.clear()


_END = -1
"""In place of an id: a part ends here."""


class _Cuts(dict[str, tuple[int, ...]]):
    """A word → its ids, computed on first use."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__({words.SPACE: (_END,), words.LINE: (_END,)})
        self._unknown = (vocabulary.unk_id,)
        self._ids = vocabulary.ids
        self._longest = max(map(len, vocabulary.pieces))

    def __missing__(self, word: str) -> tuple[int, ...]:
        whole = self._ids.get(word)
        cut = self[word] = self._cut(word) if whole is None else (whole,)
        return cut

    def _cut(self, word: str) -> tuple[int, ...]:
        if len(word) > MAX_WORD_CHARACTERS:
            return self._unknown
        ids: list[int] = []
        begin, prefix = 0, ""
        while begin < len(word):
            # No piece is longer than the longest: without this bound, time would grow with the square of the length.
            for end in range(min(len(word), begin + self._longest), begin, -1):
                piece = self._ids.get(prefix + word[begin:end])
                if piece is not None:
                    break
            else:
                return self._unknown
            ids.append(piece)
            begin, prefix = end, CONTINUATION
        return tuple(ids)


def _is_bracketed(piece: str) -> bool:
    return piece.startswith("[") and piece.endswith("]")
