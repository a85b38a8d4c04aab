"""Pass 2 of wikitext: links become what they show. They nest in the captions of pictures, 16 deep at most."""

import re

from bertline.wikipedia.marks import GUARD

# MediaWiki's own names work on every wiki.
_CANONICAL = "file image media category"
# Older names, which every wiki of a language accepts and no dump tells. Names of today come from the dump.
_FORMER = (
    "файл изображение медиа категория категорія зображення datei bild kategorie medium fichier média catégorie "
    "archivo imagen categoría ficheiro imagem categoria immagine bestand afbeelding categorie plik grafika "
    "kategoria soubor fil bilde kategori tiedosto kuva luokka dosya resim fájl kép kategória fișier αρχείο εικόνα "
    "κατηγορία קובץ קטגוריה ملف تصنيف صورة پرونده رده ファイル 画像 カテゴリ 文件 图像 分类 檔案 分類 파일 분류 "
)
HIDDEN_NAMESPACES = frozenset(f"{_CANONICAL} {_FORMER}".split())
"""Namespaces, in lower case, whose links show nothing, or a picture."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*")
_PICTURE = re.compile(r"\.(?:jpe?g|png|gif|svg|tiff?|webp|xcf|og[gvam]|webm|pdf|djvu|mid|wav|mp3)\s*$", re.IGNORECASE)
_LINKS = re.compile(r"\[\[([^\[\]|\n]*)(?:\|([^\[\]|\n]*))?\]\]|\[\[|\]\]|\n[ \t]*(?=[\n=])")
# A line that is nothing but a link to another namespace is no prose, also if no one says what its name means.
_LONE = re.compile(GUARD + r"[ \t]*+\[\[[^\[\]|:\n]{1,40}:[^\[\]|\s][^\[\]|\n]*+(?:\|[^\[\]\n]*+)?\]\][ \t]*+(?=\n|$)")
_MAX_DEPTH = 16


def without_links(text: str, hidden: frozenset[str]) -> str:
    """What a reader sees of links; a caption that isn't closed ends at the next blank line.

    Args:
        text: wikitext after pass 1.
        hidden: namespaces, in lower case, whose links aren't shown in the text.
    """
    text = _LONE.sub("", text)
    pieces: list[str] = []
    stack: list[int] = []  # for each open link, how many pieces precede it
    blank = 0  # how many pieces precede the first blank line within an open caption
    too_deep = 0
    position = 0
    for match in _LINKS.finditer(text):
        start = match.start()
        if start > position:
            pieces.append(text[position:start])
        position = match.end()
        target, label = match.groups()
        if target is not None:
            pieces.append(_shown(target, label, hidden))
            continue
        token = match[0]
        if token == "[[":
            if len(stack) < _MAX_DEPTH:
                stack.append(len(pieces))
            else:
                too_deep += 1
        elif token == "]]":
            if too_deep:
                too_deep -= 1
            elif stack:
                begin = stack.pop()
                parts = "".join(pieces[begin:]).split("|")
                pieces[begin:] = [_shown(parts[0], parts[-1] if len(parts) > 1 else None, hidden)]
                if not stack:
                    blank = 0
        else:
            too_deep = 0
            if stack and text[position : position + 1] != "=" and (kept := _captions(stack, pieces, hidden)):
                # A caption may have several paragraphs.
                del stack[kept:]
                blank = blank or len(pieces)
            else:
                _abandon(stack, pieces, blank, hidden)
                blank = 0
            pieces.append(token)
    pieces.append(text[position:])
    _abandon(stack, pieces, blank, hidden)
    return "".join(pieces)


def _shown(target: str, label: str | None, hidden: frozenset[str]) -> str:
    """What a reader sees of a link."""
    colon = target.find(":")
    if colon > 0:
        namespace = target[:colon].replace("_", " ").strip().lower()
        if namespace in hidden or (label is not None and _PICTURE.search(target)):
            return ""
        if label is None and _LANGUAGE.fullmatch(target[:colon].strip()):
            return ""  # an interlanguage link
    if label is None:
        return target.strip().removeprefix(":").replace("_", " ")
    return label or target.rpartition(":")[2].partition("(")[0].strip()  # [[Foo (bar)|]] shows Foo


def _is_picture(pieces: list[str], begin: int, hidden: frozenset[str]) -> bool:
    return begin < len(pieces) and pieces[begin].partition(":")[0].replace("_", " ").strip().lower() in hidden


def _captions(stack: list[int], pieces: list[str], hidden: frozenset[str]) -> int:
    """How many of the open links go on behind a blank line: those up to the first that is a picture's."""
    return next((depth for depth, begin in enumerate(stack, 1) if _is_picture(pieces, begin, hidden)), 0)


def _abandon(stack: list[int], pieces: list[str], blank: int, hidden: frozenset[str]) -> None:
    """Open links are broken ones: their text stays, unless it is a picture's description."""
    if stack:
        begin = next((begin for begin in stack if _is_picture(pieces, begin, hidden)), None)
        if begin is not None:
            del pieces[begin : blank or len(pieces)]
        stack.clear()
