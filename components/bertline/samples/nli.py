"""A task like MNLI by a small grammar, in words that Python's documentation uses.

There are three kinds of pairs, from easy to hard:

    premise     This module is always new.
    hypothesis  This module is new.                                 entailment

    premise     By default, the module has 7 keys.
    hypothesis  The module has more than 3 keys.                    entailment

    premise     In this case, not every function is simple.
    hypothesis  Some functions are complex.                         entailment

The first is decided by a word or two of the premise: always, never, may. The second compares two numbers, or can't, if
the premise has none. The third says of how many of some things a property holds: all, some, not all, no. "Immutable" is
"not mutable", so every such sentence comes down to one of the four about the pair of properties, and the square of
opposition gives the label; premises about other things are neutral.

Each hypothesis comes three times, once with each label: whoever reads hypotheses alone is right a third of the time. A
count of the premises' words gets to 84 %; more takes both sentences. No sentence of dev is in train. Of `random` only
`Random.random` is called, whose numbers Python promises for all its versions.
"""

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

GENRE = "sample grammar"

NOUNS = (
    ("argument", "arguments"),
    ("attribute", "attributes"),
    ("class", "classes"),
    ("exception", "exceptions"),
    ("expression", "expressions"),
    ("function", "functions"),
    ("instance", "instances"),
    ("item", "items"),
    ("key", "keys"),
    ("list", "lists"),
    ("method", "methods"),
    ("module", "modules"),
    ("name", "names"),
    ("number", "numbers"),
    ("object", "objects"),
    ("operator", "operators"),
    ("parameter", "parameters"),
    ("pattern", "patterns"),
    ("sequence", "sequences"),
    ("statement", "statements"),
    ("string", "strings"),
    ("type", "types"),
    ("value", "values"),
    ("variable", "variables"),
)

PROPERTIES = (
    ("defined", "missing"),
    ("empty", "full"),
    ("equal", "different"),
    ("explicit", "implicit"),
    ("global", "local"),
    ("mutable", "immutable"),
    ("new", "old"),
    ("public", "private"),
    ("required", "optional"),
    ("simple", "complex"),
    ("true", "false"),
    ("valid", "invalid"),
)
"""Pairs of opposite properties."""

CONTEXTS = (
    *[""] * 11,
    "by default,",
    "for example,",
    "in general,",
    "in the current version,",
    "in the following code,",
    "in this case,",
    "in this example,",
    "in this module,",
    "when the code is executed,",
    "when the method is called,",
    "within the block,",
)
"""Beginnings of every second premise, without effect on the label."""

DETERMINERS = ("the", "this", "the current", "the following")

STATEMENTS = {
    "entailment": (
        "{the} {one} is always {what}.",
        "{the} {one} must be {what}.",
        "{the} {one} is both {what} and {more}.",
    ),
    "contradiction": (
        "{the} {one} is never {what}.",
        "{the} {one} cannot be {what}.",
        "{the} {one} is neither {what} nor {more}.",
    ),
    "neutral": (
        "{the} {one} may be {what}.",
        "{the} {one} is either {what} or {more}.",
        "if {the} {one} is {what}, an exception is raised.",
    ),
}
"""Premises for "{the} {one} is {what}."."""

ALL, SOME, NOT_ALL, NO = "all", "some", "not all", "no"

WORDINGS = {
    ALL: ("all {many} are {what}.", "every {one} is {what}."),
    SOME: ("some {many} are {what}.", "at least one {one} is {what}."),
    NOT_ALL: ("not all {many} are {what}.", "not every {one} is {what}."),
    NO: ("no {one} is {what}.", "none of the {many} are {what}."),
}

OPPOSITE = {ALL: NO, NO: ALL, SOME: NOT_ALL, NOT_ALL: SOME}
"""Quantifier → the equivalent one for the opposite property: all are mutable, none is immutable."""

FOLLOWS = {
    ALL: {"entailment": (ALL,), "contradiction": (NO, NOT_ALL), "neutral": (SOME,)},
    SOME: {"entailment": (SOME, ALL), "contradiction": (NO,), "neutral": (NOT_ALL,)},
    NOT_ALL: {"entailment": (NOT_ALL, NO), "contradiction": (ALL,), "neutral": (SOME,)},
    NO: {"entailment": (NO,), "contradiction": (ALL, SOME), "neutral": (NOT_ALL,)},
}
"""Quantifier of the hypothesis → the premises for each label (each kind of thing has at least one)."""

LABELS = ("entailment", "neutral", "contradiction")

STATED_RATE, COUNTING_RATE = 0.4, 0.4
"""Shares of the pairs of the first and the second kind."""

UNRELATED_RATE = 0.25
"""Share of neutral premises that are about other things, among those of the third kind."""

OPPOSITE_RATE = 0.2
"""Share of premises that name the opposite property, among those of the third kind: the hardest."""


TRAIN_TRIPLES, DEV_TRIPLES = 1334, 334
SEED = 1

Row = tuple[str, str, str]
"""Premise, hypothesis, label."""


class Claim(NamedTuple):
    """The meaning of a sentence."""

    quantity: str
    noun: tuple[str, str]
    pair: tuple[str, str]
    """A pair of `PROPERTIES`."""
    side: int
    """Index of the property that the sentence names."""


def train() -> str:
    """The training file in GLUE's layout, 4,002 pairs."""
    return _file(_rows()[0], annotators=1)


def dev() -> str:
    """The dev file in GLUE's layout, 1,002 pairs."""
    return _file(_rows()[1], annotators=5)


def _file(rows: Sequence[Row], annotators: int) -> str:
    """A file in which columns of parsers and annotators are empty."""
    header = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"]
    header += ["sentence1_parse", "sentence2_parse", "sentence1", "sentence2"]
    header += [*(f"label{number}" for number in range(1, annotators + 1)), "gold_label"]
    lines = ["\t".join(header)]
    for index, (premise, hypothesis, label) in enumerate(rows):
        lines.append("\t".join([str(index), "", "", GENRE, *[""] * 4, premise, hypothesis, *[""] * annotators, label]))
    return "".join(f"{line}\n" for line in lines)


@functools.cache
def _rows() -> tuple[list[Row], list[Row]]:
    """Train and dev, made together so that they have no sentence in common."""
    draw = random.Random(SEED)
    triples = _triples(draw)
    return tuple(  # type: ignore[return-value]  # two of them
        _shuffled(draw, [row for _ in range(count) for row in next(triples)]) for count in (TRAIN_TRIPLES, DEV_TRIPLES)
    )


def _triples(draw: random.Random) -> Iterator[list[Row]]:
    """A hypothesis with a premise for each label. No sentence is used twice as hypothesis, or twice as premise."""
    hypotheses: set[str] = set()
    premises: set[str] = set()
    while True:
        kind = draw.random()
        hypothesis, premise_for = (
            _stated(draw)
            if kind < STATED_RATE
            else _counting(draw)
            if kind < STATED_RATE + COUNTING_RATE
            else _quantified(draw)
        )
        if hypothesis in hypotheses:
            continue
        hypotheses.add(hypothesis)
        triple = []
        for label in LABELS:
            while (premise := _in_context(draw, premise_for(label))) in premises:
                pass
            premises.add(premise)
            triple.append((_capitalized(premise), _capitalized(hypothesis), label))
        yield triple


Pair = tuple[str, Callable[[str], str]]
"""A hypothesis, and a function that draws a premise for a label."""


def _stated(draw: random.Random) -> Pair:
    pair = _pick(draw, PROPERTIES)
    others = [word for other in PROPERTIES if other != pair for word in other]
    words = {"the": _pick(draw, DETERMINERS), "one": _pick(draw, NOUNS)[0], "what": _pick(draw, pair)}

    def premise(label: str) -> str:
        return _pick(draw, STATEMENTS[label]).format(**words, more=_pick(draw, others))

    return "{the} {one} is {what}.".format(**words), premise


def _counting(draw: random.Random) -> Pair:
    """More than so many: less than a digit in the premise, not less, or no digit there."""
    holder, held = _pick(draw, NOUNS)[0], _pick(draw, NOUNS)[1]
    limit = _pick(draw, range(1, 9))

    def premise(label: str) -> str:
        numbers = {"entailment": range(limit + 1, 10), "contradiction": range(1, limit + 1), "neutral": ("some",)}
        return f"the {holder} has {_pick(draw, numbers[label])} {held}."

    return f"the {holder} has more than {limit} {held}.", premise


def _quantified(draw: random.Random) -> Pair:
    claim = Claim(_pick(draw, list(FOLLOWS)), _pick(draw, NOUNS), _pick(draw, PROPERTIES), _pick(draw, (0, 1)))
    return _sentence(draw, claim), lambda label: _sentence(draw, _premise(draw, claim, label))


def _premise(draw: random.Random, claim: Claim, label: str) -> Claim:
    """A claim with the label's relation to a hypothesis."""
    if label == "neutral" and draw.random() < UNRELATED_RATE:
        others = [noun for noun in NOUNS if noun != claim.noun]
        claim = claim._replace(quantity=_pick(draw, list(FOLLOWS)), noun=_pick(draw, others))
    else:
        claim = claim._replace(quantity=_pick(draw, FOLLOWS[claim.quantity][label]))
    if draw.random() < OPPOSITE_RATE:
        claim = claim._replace(quantity=OPPOSITE[claim.quantity], side=1 - claim.side)
    return claim


def _sentence(draw: random.Random, claim: Claim) -> str:
    one, many = claim.noun
    return _pick(draw, WORDINGS[claim.quantity]).format(one=one, many=many, what=claim.pair[claim.side])


def _in_context(draw: random.Random, sentence: str) -> str:
    return f"{_pick(draw, CONTEXTS)} {sentence}".strip()


def _capitalized(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _pick(draw: random.Random, choices: Sequence[T]) -> T:
    return choices[int(draw.random() * len(choices))]


def _shuffled(draw: random.Random, rows: list[Row]) -> list[Row]:
    return [row for _, row in sorted((draw.random(), row) for row in rows)]
