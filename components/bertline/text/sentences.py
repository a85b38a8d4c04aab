"""A paragraph → sentences, by rules, in time linear in its length.

One regular expression finds what may end a sentence: a mark, closing quotes, a space. Only at these places is anything
decided, from the word before and the word after: some 12 MB of prose a second. pysbd, the best kept library of its
kind, applies a hundred substitutions to the whole text: a hundred times as slow, and not better on the pages that were
compared.

How a full stop is judged, first rule that fits:

1. before a lower-case letter it ends nothing;
2. after an abbreviation that needs a following word (`Dr.`, `vol.`, `им.`) it ends nothing;
3. after an initial, or an abbreviation that may close a sentence (`U.S.`, `Inc.`, `90-х гг.`), it ends a sentence if
   the next word is one that mostly starts sentences (`The`, `In`, `Он`);
4. otherwise it ends a sentence.
"""

import dataclasses
import re

# The space is optional, or a long run of marks without one would be tried again from each of its marks.
_CANDIDATE = re.compile(r"([.!?…]+)((?: »)?[\"'”’»)\]]*)( *)|[。！？]+[」』”）]*|[।؟۔]+ *")
_OPENING = "\"'“‘„«([—–-¿¡ "
_BEFORE_WORD = "([{\"'“‘„«—–-/"
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_MAX_WORD = 24  # longer ones are no abbreviations


@dataclasses.dataclass(frozen=True, slots=True)
class _Language:
    closed: frozenset[str]
    """Abbreviations that stand before a word or number: no sentence ends after them."""
    open: frozenset[str]
    """Abbreviations with which a sentence may end."""
    starters: frozenset[str]
    """Words that, written with a capital, mostly start a sentence."""
    closers: frozenset[str] = frozenset()
    """Abbreviations that, before a capital letter, end a sentence."""
    ordinals: bool = False
    """Whether `3. Oktober` is how an ordinal is written."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH = _Language(
    closed=_words(
        "mr mrs ms messrs dr prof sts mt rev hon gen col lt sgt capt cpl cmdr adm maj pvt brig gov sen rep pres "
        "supt vs v cf viz e.g i.e eg ie nos vol vols pp p pt ch sec fig figs eq eqs ed eds trans tr op ca c b d "
        "fl r lit est approx univ rt msgr fr br mlle mme bros ph.d gk lat heb skt orig var subsp ssp"
    ),
    open=_words(
        "inc ltd co corp jr sr esq etc a.m p.m am pm u.s u.k u.n d.c b.c a.d b.c.e c.e ed.d m.d b.a m.a l.a n.y bc ad "
        "st ft ave blvd dept no al jan feb mar apr jun jul aug sept sep oct nov dec"
    ),
    starters=_words(
        "the a an in on at by for from with to of as it its he his she her they their we our you i this that these "
        "those there when while where after before since during although though however if because both many most some "
        "several all each one two but and or so yet not no also other another what who how why then thus therefore "
        "according despite under over until between among through following such even only today later finally "
        "meanwhile instead because unlike"
    ),
    closers=_words("etc"),
)
_RUSSIAN = _Language(
    closed=_words(
        "им ул пл пр-т просп пер наб бул ш г гор д дер пос с ст р оз о о-в проф акад доц ген полк подполк кап "
        "лейт адм св преп архиеп еп митр прот см ср напр т вып кн ч гл изд ред сост № тел род ум ок "
        "прибл англ нем фр франц итал исп лат греч др.-греч рус укр белор польск яп кит араб тур евр санскр т.е т.к "
        "т.н мл ст-ца ж.-д арх худ реж комп гр тов гос"
    ),
    open=_words(
        "гг вв тыс млн млрд руб коп долл чел экз н.э а.е л.с т.д т.п др пр и.о co ltd inc jr обл р-н рис табл илл стр"
    ),
    starters=_words(
        "в во на он она оно они его её их это этот эта эти по после при с со из за до для от к у о об а и но не также "
        "однако когда если как так кроме вместе среди через во-первых согласно несмотря хотя уже ещё был была было "
        "были там здесь тогда затем потом позже впоследствии все всего всё многие некоторые каждый большинство "
        "современные первые первый население основные под над перед между что кто где который"
    ),
)
_GERMAN = _Language(
    closed=_words(
        "dr prof hr fr st nr bd bde s vgl z.b d.h u.a v.a i.d.r bzw ca geb gest hrsg hg jh jhd abb kap art abs inkl "
        "str z u"
    ),
    open=_words("ag co n.chr v.chr chr"),
    closers=_words("usw etc"),
    starters=_words(
        "der die das den dem des ein eine einer er sie es in im am an auf aus bei mit nach von vor zu zum zur für als "
        "wenn während seit durch über unter dies diese dieser dieses auch nur so da doch aber und nachdem obwohl wie "
        "was wer hier dort sein ihre"
    ),
    ordinals=True,
)
_FRENCH = _Language(
    closed=_words("m mm mme mlle dr pr st ste cf p pp vol t éd art chap fig n no env av apr ex"),
    open=_words("j.-c co"),
    closers=_words("etc"),
    starters=_words(
        "le la les l un une des il elle ils elles ce cet cette ces on en dans à au aux par pour avec sur après avant "
        "depuis si mais et ou où quand comme selon de du son sa ses leur leurs plusieurs cependant toutefois ainsi"
    ),
)
_UKRAINIAN = _Language(
    closed=_words(
        "ім вул пл просп пров бул м смт с ст р оз о обл р-н проф акад доц ген полк св див пор напр т вип кн ч гл вид "
        "ред укл рис табл стор тел нар пом бл англ нім фр італ ісп лат грец рос укр пол яп кит араб тур т.з д"
    ),
    open=_words("рр ст тис млн млрд грн крб н.е т.д т.п ін"),
    starters=_words(
        "у в на він вона воно вони його її їх це цей ця ці по після при з із зі за до для від к а і й та але не також "
        "однак проте коли якщо як так крім серед через згідно хоча вже ще був була було були там тут тоді потім згодом "
        "всі все деякі кожен більшість"
    ),
)
_LANGUAGES = {"en": _ENGLISH, "ru": _RUSSIAN, "de": _GERMAN, "fr": _FRENCH, "uk": _UKRAINIAN}


def split(paragraph: str, language: str) -> list[str]:
    """The sentences of a paragraph, in order; joined by spaces they are the paragraph again.

    Args:
        paragraph: text with single spaces, as `articles.prose` returns it.
        language: One that an experiment can name. A wiki of another one is read as English; marks of scripts that have
            their own end sentences there, too.
    """
    rules = _LANGUAGES[language]
    sentences: list[str] = []
    begin = 0
    for match in _CANDIDATE.finditer(paragraph):
        end = match.end()
        if match[3] == "":
            continue
        if end == len(paragraph):
            break
        mark = match[1]
        if (
            _is_in_another_script(paragraph, begin)
            if mark is None
            else _is_end(paragraph, begin, match.start(), mark, match[2], end, rules)
        ):
            sentence = paragraph[begin:end].strip()
            if sentence:
                sentences.append(sentence)
            begin = end
    rest = paragraph[begin:].strip()
    if rest:
        sentences.append(rest)
    return sentences


def _is_in_another_script(text: str, begin: int) -> bool:
    """Whether the sentence that starts at `begin` is no quotation of such a script within one of the language."""
    letter = next((character for character in text[begin : begin + 40] if character.isalnum()), "")
    return letter > "\u0590"


def _is_end(text: str, begin: int, stop: int, mark: str, closing: str, following: int, rules: _Language) -> bool:
    """Whether the mark at `stop` ends the sentence that starts at `begin`; the next word is at `following`."""
    while text[following] in _OPENING:
        following += 1
        if following == len(text):
            return False
    if text[following].islower():
        return False
    if mark != "." or closing:
        # Three dots in front of a sentence are words left out, not its end.
        return stop > begin and text[stop - 1] not in _BEFORE_WORD
    word = text[max(begin, text.rfind(" ", max(begin, stop - _MAX_WORD), stop) + 1) : stop].lstrip(_BEFORE_WORD)
    if not word:
        return True
    if word.isdigit():
        # `1. First item`, or an ordinal.
        is_first = stop - len(word) <= begin + 1
        return not is_first and not (rules.ordinals and len(word) <= 2 and not _starts(text, following, rules))
    if not any(map(str.isalnum, word)):
        return True  # `7,7 %.`, `5 °.`
    lower = word.lower()
    if len(word) > 1 and "." not in word:
        if lower in rules.closers or (
            lower in _AND_OTHERS and text[max(begin, stop - 8) : stop].endswith(_AND_OTHERS[lower])
        ):
            return True
        if lower in _COUNTED and _follows_number(text, begin, stop - len(word)):
            return True
        if lower in rules.closed:
            return _follows_number(text, begin, stop - len(word)) and _starts(text, following, rules)
        return lower not in rules.open or _starts(text, following, rules)
    # A single letter, or letters with full stops in between, maybe in two halves: `т. д.`, `н. э.`
    before = text[max(begin, stop - 12) : stop - len(word)].rstrip()
    if len(word) == 1 and word.islower():
        if before[-1:] == ".":
            pair = f"{before[-2:-1]}.{word}"
            return pair in rules.open or (pair not in rules.closed and _starts(text, following, rules))
        if word in _UNITS and before[-1:].isdigit():
            return True
        if word in _YEARS and (before[-1:].isdigit() or before[-1:] in "IVX"):
            return True
    elif word[-1].isdigit():
        return True
    if lower in rules.closed and lower == word and not word.isupper():
        return False
    if len(word) == 1 or lower in rules.open or all(len(part) <= 2 and part.isalpha() for part in word.split(".")):
        return _starts(text, following, rules)
    return True


_YEARS = frozenset("гвр")  # 1990 г., XX в.
_UNITS = frozenset("mglмтл")  # 5 m.
_COUNTED = _words("руб коп долл чел экз грн")  # 5 руб.
_MILLIONS = (" тыс", " млн", " млрд", " тис", " тыс.", " млн.", " млрд.", " тис.")
# Ends a list, and mostly its sentence.
_AND_OTHERS = {"др": (" и др",), "пр": (" и пр",), "ін": (" та ін", " й ін", " і ін")}


def _follows_number(text: str, begin: int, at: int) -> bool:
    """Whether a number stands before this place, maybe in words as `5 млн`."""
    before = text[max(begin, at - 8) : at].rstrip()
    return before[-1:].isdigit() or before.endswith(_MILLIONS)


def _starts(text: str, at: int, rules: _Language) -> bool:
    """Whether the word here is one that starts sentences, and no initial."""
    word = _WORD.match(text, at)
    return word is not None and word[0].lower() in rules.starters and text[word.end() : word.end() + 1] != "."
