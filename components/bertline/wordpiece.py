"""WordPiece: the vocabulary, the tokenizer and the training of a vocabulary, for every component.

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

import collections
import dataclasses
import functools
import hashlib
import heapq
import itertools
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
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


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The pieces; a piece's place is its id. Made by :func:`read`, :func:`parse` or :func:`train`, which check it."""

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
        text = path.read_bytes().decode("utf-8")
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
        piece = line.strip()
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
            UserError: lower-casing for a vocabulary with upper-case pieces: they could never be used.
        """
        if lower_case and vocabulary.cased_piece is not None:
            raise errors.UserError(
                f"lower_case is true, but the vocabulary is cased: it has {vocabulary.cased_piece!r}, "
                "which no lower-cased text contains; set lower_case to false or take an uncased vocabulary"
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
        return list(itertools.chain.from_iterable(map(self._known.__getitem__, _parts(text))))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` of each text."""
        return [self.encode(text) for text in texts]


def train(texts: Iterator[str], size: int, lower_case: bool, min_frequency: int = 2) -> Vocabulary:
    """Makes a vocabulary of at most ``size`` pieces from texts, the same for the same texts in any order.

    Starts with the characters, as first of a word and as continuation, and joins the neighbours that are most frequent,
    again and again (byte-pair encoding, as other trainers of WordPiece vocabularies do). Ties go to the pair whose
    pieces were made first; characters are in the order of their code points. So the result is a function of the
    words' counts alone. Memory grows with the number of different words, not with the texts.

    Args:
        texts: read once.
        size: special tokens included. Fewer pieces come out if there are no more frequent ones.
        lower_case: for an uncased vocabulary.
        min_frequency: a piece occurs at least so many times.

    Raises:
        UserError: ``size`` is too small for a tenth of an alphabet, or there is no text.
    """
    if size < len(SPECIAL_TOKENS) + 20:
        raise errors.UserError(f"a vocabulary has at least {len(SPECIAL_TOKENS) + 20} pieces, not {size}")
    parts: collections.Counter[str] = collections.Counter()
    for text in texts:
        parts.update(_parts(text))
    words: collections.Counter[str] = collections.Counter()
    for part, count in parts.items():
        for word in _words(part, lower_case):
            if len(word) <= MAX_WORD_CHARACTERS:
                words[word] += count
    del parts
    if not words:
        raise errors.UserError("there is no text to train a vocabulary on")
    alphabet = _alphabet(words, min((size - len(SPECIAL_TOKENS)) // 2, _ALPHABET), min_frequency)
    pieces = [*SPECIAL_TOKENS, *alphabet]
    _join_neighbours(words, pieces, size, min_frequency)
    return Vocabulary(tuple(pieces))


_ALPHABET = 2_000
"""Pieces of one character that a trained vocabulary has at most: 1,000 characters, each first in a word and not."""

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


def _parts(text: str) -> list[str]:
    """A text, split at blanks."""
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
        for word in _words(part, self._lower_case):
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


def _words(part: str, lower_case: bool) -> list[str]:
    """The words and marks of a text without blanks."""
    characters = _characters()
    if not (part.isascii() and part.isprintable()):
        part = characters.dropped.sub("", part)
        part = characters.chinese.sub(r" \g<0> ", part)
    if lower_case:
        part = part.lower()
        if not part.isascii():
            part = characters.accents.sub("", unicodedata.normalize("NFD", part))
    found: list[str] = characters.words.findall(part)
    return found


def _is_bracketed(piece: str) -> bool:
    return piece.startswith("[") and piece.endswith("]")


def _letters(word: str) -> Iterable[str]:
    """The word as the smallest pieces."""
    return itertools.chain(word[:1], (CONTINUATION + letter for letter in word[1:]))


def _alphabet(words: collections.Counter[str], limit: int, min_frequency: int) -> list[str]:
    """The most frequent pieces of one character, in the order of code points, first of a word before continuation."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for letter in _letters(word):
            counts[letter] += count
    frequent = sorted((-count, letter) for letter, count in counts.items() if count >= min_frequency)
    chosen = {letter for _, letter in frequent[:limit]}
    return sorted(chosen, key=lambda letter: (letter[-1], len(letter)))


def _join_neighbours(words: collections.Counter[str], pieces: list[str], size: int, min_frequency: int) -> None:
    """Adds to ``pieces`` the joined neighbours, most frequent first, until there are ``size``."""
    ids = {piece: index for index, piece in enumerate(pieces)}
    cuts: list[list[int]] = []  # of each word: its pieces
    counts: list[int] = []  # of each word
    pairs: collections.Counter[tuple[int, int]] = collections.Counter()
    places: dict[tuple[int, int], set[int]] = collections.defaultdict(set)  # in which words a pair is, or was
    for word, count in words.items():
        cut = [ids.get(letter, -1) for letter in _letters(word)]
        if len(cut) < 2 or -1 in cut:  # a word with a rare character will be [UNK]
            continue
        for pair in itertools.pairwise(cut):
            pairs[pair] += count
            places[pair].add(len(cuts))
        cuts.append(cut)
        counts.append(count)
    # (-count, pair): the most frequent first, then the pair of the oldest pieces. An entry whose count has changed
    # is passed over: whenever a count changes, an entry with the new one is added.
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    while queue and len(pieces) < size:
        negative, pair = heapq.heappop(queue)
        if pairs[pair] != -negative:
            continue
        if -negative < min_frequency:
            break
        joined = pieces[pair[0]] + pieces[pair[1]].removeprefix(CONTINUATION)
        new = ids.get(joined)
        if new is None:  # "a" + "##bc" may have made the same piece as "ab" + "##c"
            new = ids[joined] = len(pieces)
            pieces.append(joined)
        changed: set[tuple[int, int]] = set()
        for place in places.pop(pair):
            cut, count = cuts[place], counts[place]
            for old in itertools.pairwise(cut):
                pairs[old] -= count
                changed.add(old)
            cut = cuts[place] = _joined(cut, pair, new)
            for fresh in itertools.pairwise(cut):
                pairs[fresh] += count
                places[fresh].add(place)
                changed.add(fresh)
        for other in changed:
            if pairs[other] > 0:
                heapq.heappush(queue, (-pairs[other], other))


def _joined(cut: list[int], pair: tuple[int, int], new: int) -> list[int]:
    result: list[int] = []
    index = 0
    while index < len(cut):
        if cut[index] == pair[0] and index + 1 < len(cut) and cut[index + 1] == pair[1]:
            result.append(new)
            index += 2
        else:
            result.append(cut[index])
            index += 1
    return result
