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
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bertline import errors

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
        """As a vocab.txt: one piece a line."""
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
        return tuple(piece for piece in pieces if _uncased(piece) != piece.lower())

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

    @property
    def starts_word(self) -> npt.NDArray[np.bool_]:
        """See :attr:`Vocabulary.starts_word`. Shape [size]."""
        return self.vocabulary.starts_word

    def encode(self, text: str) -> list[int]:
        """Ids of the text's pieces, without [CLS] and [SEP]."""
        return list(itertools.chain.from_iterable(map(self._known.__getitem__, parts(text))))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` of each text."""
        return [self.encode(text) for text in texts]


_REMEMBERED = 2**17
"""Parts of text in a generation, of which a tokenizer remembers two, and words that it remembers. About 200 bytes each:
3 * 131,072 * 200 bytes = 80 MB at most."""

_CJK = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002ceaf\uf900-\ufaff"
    "\U0002f800-\U0002fa1f"
)
"""BERT's notion of a Chinese character, as the inside of a character class."""

_CONTROL_BLANKS = re.compile("[\x0b\x0c\x1c-\x1f\x85]+")
"""Blanks to Python's split, control characters to drop for BERT."""


def parts(text: str) -> list[str]:
    """A text, split at blanks: what `words` takes."""
    if _CONTROL_BLANKS.search(text):
        text = _CONTROL_BLANKS.sub("", text)
    return text.split()


class _KnownParts(dict[str, tuple[int, ...]]):
    """A part of text → its ids; works them out when they are first asked for."""

    def __init__(self, vocabulary: Vocabulary, lower_case: bool) -> None:
        super().__init__()
        self._lower_case = lower_case
        self._older: dict[str, tuple[int, ...]] = {}
        self._cuts: dict[str, Sequence[int]] = {}
        self._ids = vocabulary.ids
        self._unknown = (vocabulary.unk_id,)
        self._longest = max(map(len, vocabulary.pieces))

    def __missing__(self, part: str) -> tuple[int, ...]:
        # In two generations, so that what is frequent is never forgotten: it is taken over from the older one in time.
        if len(self) >= _REMEMBERED:
            self._older = dict(self)
            self.clear()
        known = self._older.get(part)
        if known is not None:
            self[part] = known
            return known
        if len(self._cuts) >= _REMEMBERED:
            self._cuts.clear()
        ids: list[int] = []
        for word in words(part, self._lower_case):
            # Words are remembered, too: "Edwards," and "(Edwards" have one in common.
            cut = self._cuts.get(word)
            if cut is None:
                cut = self._cuts[word] = self._cut(word)
            ids += cut
        known = self[part] = tuple(ids)
        return known

    def _cut(self, word: str) -> Sequence[int]:
        if word in self._ids:
            return (self._ids[word],)
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
        return ids


@dataclasses.dataclass(frozen=True, slots=True)
class _Characters:
    """What BERT does to characters, by Python's Unicode tables."""

    dropped: re.Pattern[str]
    """Control and format characters, the replacement character."""
    chinese: re.Pattern[str]
    accents: re.Pattern[str]
    """Nonspacing marks."""
    words: re.Pattern[str]
    """A punctuation mark, or whatever is between such marks and blanks."""


@functools.cache
def _characters() -> _Characters:
    # 1.1 million look-ups, a quarter of a second: once a process, and not on import.
    by_category: dict[str, list[str]] = {}
    for category, group in itertools.groupby(map(chr, range(sys.maxunicode + 1)), unicodedata.category):
        run = list(group)
        by_category.setdefault(category, []).append(f"{re.escape(run[0])}-{re.escape(run[-1])}")
    # ASCII has marks like "$", "^" and "`" that aren't punctuation to Unicode, but to BERT.
    marks = "!-/:-@\\[-`{-~" + "".join(
        itertools.chain.from_iterable(runs for category, runs in by_category.items() if category[0] == "P")
    )
    return _Characters(
        # Blanks that are control characters (tab, line ends) never get here.
        dropped=re.compile(f"[\ufffd{''.join(by_category['Cc'] + by_category['Cf'])}]+"),
        chinese=re.compile(f"[{_CJK}]"),
        accents=re.compile(f"[{''.join(by_category['Mn'])}]+"),
        words=re.compile(f"[{marks}]|[^\\s{marks}]+"),
    )


def words(part: str, lower_case: bool) -> list[str]:
    """The words and marks of a text without blanks."""
    characters = _characters()
    if not (part.isascii() and part.isprintable()):
        part = characters.dropped.sub("", part)
        part = characters.chinese.sub(r" \g<0> ", part)
    if lower_case:
        part = _uncased(part)
    found: list[str] = characters.words.findall(part)
    return found


def _uncased(part: str) -> str:
    """Lower-cased and without accents."""
    part = part.lower()
    return part if part.isascii() else _characters().accents.sub("", unicodedata.normalize("NFD", part))


def _is_bracketed(piece: str) -> bool:
    return piece.startswith("[") and piece.endswith("]")
