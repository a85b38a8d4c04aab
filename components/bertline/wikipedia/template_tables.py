"""Which template shows what, a table for each language; `templates` applies them.

A line is `name, other name = what it shows`, and goes on in lines that are indented. With nothing behind the `=` the
template shows nothing that belongs to a sentence. To find what is missing, look at `dropped_templates` in a corpus'
results: the most frequent names that stand in sentences and whose text isn't known.
"""

from bertline.wikipedia import template_tables_other


def _table(lines: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for line in lines.strip().replace("\n    ", " ").split("\n"):
        names, _, shows = line.partition(" =")
        for name in names.split(", "):
            table[name.strip().lower()] = shows.removeprefix(" ").replace("¶", "\n\n").replace("␣", " ")
    return table


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SHIP_PREFIXES = (
    *("USS", "HMS", "HMAS", "HMCS", "HMNZS", "SS", "MS", "MV", "RMS", "USNS", "USCGC", "USAT", "RFA", "INS", "ORP"),
    *("SMS", "USRC", "CSS", "HNLMS", "HDMS", "HSwMS", "MY", "GTS", "TSS", "RV", "HMT"),
)
CURRENCY_SIGNS = ("US$", "A$", "C$", "NZ$", "HK$", "NT$", "S$", "R$", "£", "€", "¥", "₹", "₱", "₩", "₽", "$")

PARSER_FUNCTIONS = {
    "formatnum": "@number",
    "lc": "{1}",
    "uc": "{1}",
    "lcfirst": "{1}",
    "ucfirst": "{1}",
    "#expr": "@expr",
}

# After all tables, for names of which a table can't have all.
PREFIXES = (
    ("lang-", "{1|text}"),
    ("cite", ""),
    ("citation", ""),
    ("sfn", ""),
    ("efn", ""),
    ("harvnb", ""),
    ("infobox", ""),
    ("use ", ""),
    ("flagicon", ""),
    ("pp-", ""),
    ("refn", ""),
    ("нп", "@red"),
    ("не переведено", "@red"),
    ("cytuj", ""),
    ("internetquelle", ""),
    ("ouvrage", ""),
    ("lien web", ""),
)

_ENGLISH = _table("""
convert, cvt, conv, convinfobox = @convert
nowrap, nobr, nobreak, nowr, nw, nowrap1, j, nbr, nbr2, no wrap = {1}
small, smaller, big, larger, resize, smalldiv, allow wrap, normal, noitalic, nobold, unbulleted list entry = {1}
smallcaps, sc, sc2, smallcaps2, small caps, smallcaps all, sc1, caps, lsc = {1}
lang, lang2 = {2|text}
langx, lang-x = {2|text}
transl, transliteration, translit, tlit, xlit, unicode transl = @last
script, script/hebrew, script/greek, script/arabic, hebrew, rtl-para, rtl-lang, asiantitle = @last
unicode, polytonic, ipa link, music, angbr, angle bracket, angbr ipa, grapheme, phoneme, nastaliq, he-icon = {1}
not a typo, typo, as written, chem name, chem/link, proper name, notatypo, sic!, linktext, linktexts = {1}
sic, as is = {1|}[ {2}]
abbr, abbrv, abbreviation, tooltip, title, hover title, h:title, hovertext, define = {1}
abbrlink, abbrl = {1}
nihongo, nihongo core, nihongo2, japanese = @nihongo
nihongo3 = {3|1|2}
nihongo foot, nihongo krt, nihongo title = {1}
korean, zh, chinese, lang-zh, zh-cn, zh-full, jct, jpn, kor =
ill, interlanguage link, interlanguage link multi, red link, link-interwiki, ill2, interlanguage link forced = @ill
ill-wd, interlanguage link wikidata = {lt|1}
as of, asof, as of?, update as of = @as_of
since = since {1}
formatnum, nts, num, number, ntsh, sort number, digits, comma separate, delimitnum, decimal separate = @number
val = @val
gaps, gap number = @gaps
frac, sfrac, fraction, frac2, tfrac, ratio fraction = @frac
chem, chem2, ce, chemf = @chem
mvar, math, var, bigmath, tmath, mathvar = {1}
overline, underline, overbar, strike, u, s, strikethrough, em, strong, bold, italic, i, b, bi, italics, bolditalic,
    emphasis, highlight, mark, kbd, samp, code, mono, tt, monospace, codes, pre2, key, keypress, nowiki, q, q1,
    varserif, serif, tnum = {1}
sup, smallsup, supsc, superscript = <sup>{1}</sup>
sub, subscript, smallsub, su sub = <sub>{1}</sub>
e, exp10 = ×10<sup>{1}</sup>
10^, 10e = 10<sup>{1}</sup>
sqrt, radic, surd = √{1}
su = {p|}{b|}
simplenuclide, nuclide, isotope = {1}
ship, ship2 = {1} {2}
sclass, sclass-, sclass2-, sclass2, sclass! = @last
usship = USS {1}
aircraft serial, bookkeeping, flight number = {1}
hurricane, rws = {1}
ussub = USS {1}
cl, class = {1}
us$, usd, us dollar = @money US$
a$, au$, aud = @money A$
c$, ca$, cad, can$ = @money C$
nz$, nzd = @money NZ$
hk$ = @money HK$
nt$ = @money NT$
gbp, £, pound, pound sterling, gb£ = @money £
eur, €, euro = @money €
¥, jpy, yen, jp¥, cny, rmb = @money ¥
inr, ₹, indian rupee, indian rupees, rupee = @money ₹
php, ₱, philippine peso = @money ₱
krw, ₩ = @money ₩
rub = @money ₽
c., circa, ca., ca = c. [{1}][ – {2}]
floruit, fl., fl = fl. [{1}][–{2}]
born, b. = b. [{1}]
died, d. = d. [{1}]
reign, r. = r. [{1}][–{2}]
bce, bc = {1} BC
ad, ce era = AD {1}
age, age in years, age in years and days, age in days, time ago, years or months ago, time interval, ayd =
height = @height
quote, blockquote, quotation, bquote, cquote, quote1, bq, qb, verse quote, poemquote, poem quote, quotes,
    imagequote2, long quote, quote without source, quoteblock = ¶{text|quote|1}¶
talk quote, talkquote, talk quote block, tq, tqq, tquote = {1|text}
inline quote, quoted, qt, inlinequote, qtd = "{1}"
quote box, quotebox, pull quote, pullquote, rquote, reduced pull quote, quote frame, rquotes, stack, float, side box =
flag, flagu, flagcountry, flaglink, fbaicon, fb, fbw, nft, cr, ru, flag+link, flag deco, flagathlete, flagioc,
    flag2, flagdeco2, noflag = {1}
flagicon, flag icon, flagicon image, flaglist, flagdeco, flag decoration, fbicon, country flag =
harvtxt, harvcoltxt, harvcol = {1}[ & {2}]
harvcoltxt1, citeref, harvc, harv, harvs, harvid =
isbn = ISBN {1}
oclc = OCLC {1}
issn = ISSN {1}
doi, arxiv, pmid, pmc, jstor, bibcode, hdl, s2cid, oeis, asin, lccn, ol, mr, zbl = {1}
oeis2c, oeis el = {1}
bibleverse, bibleref, bibleverse-lb, bibleref2, bible verse = {1} {2|}
cross reference, crossref, see above, xref, crossreference = {1}
visible anchor, vanchor, visanc, anchored = {1}
yearlink, year, avyear, scyr, mlby, nhly, nbay, nfly, baseball year, by, lfpy, nasa year = {1}
usstat, usctext, uscsub, uscode = {1}
usc, united states code = {1} U.S.C. § {2}
ussc, scotus = {1} U.S. {2}
section link, slink, see section, seclink = {1|} § {2}
color, font color, font, colour, fontcolor, colored text, color sample, fgcolor, text color = @color
rp, r, ref, ref label, refn, note, note label, fn, fnb, reflist, notelist, notes, ref name, cref, cnote, ref+,
    notetag, mn, sfnm, sfnp, wikicite, refname =
main, see also, see, further, about, for, other uses, hatnote, redirect, distinguish, redirect-multi, for2, details,
    more, seealso, other people, otheruses, otherpeople, two other uses, this, main article, further information,
    main list, about-distinguish, redirect2 =
citation needed, cn, fact, facts, cit, citation, cite, citeneeded, uncited, sourced?, unsourced-inline,
    unreferenced inline, source needed, citation-needed, ref?, needs citation, cb, cn span, citation needed span =
dubious, dubious-inline, dubious – discuss, disputed inline, disputed-inline, verify source, verify, vs,
    verification needed, failed verification, nfv, not in source, nonspecific, bsn, better source,
    better source needed, page needed, pn, page number, page numbers needed, or, original research inline,
    or inline, synthesis inline, syn, pov inline, pov-statement, lopsided, undue weight inline, weasel inline,
    weasel-inline, peacock inline, peacock, editorializing, tone inline, according to whom, attribution needed,
    by whom, by who, whom, who, which, what, when, where, why, how, vague, clarify, clarification needed, clarifyme,
    definition needed, specify, quantify, example needed, examples, elucidate, explain, further explanation needed,
    huh, technical inline, jargon-inline, update after, update inline, update-inline, needs update, dated info,
    obsolete source, self-published inline, self-published source, sps, rs, primary source inline, primary inline,
    third-party inline, npov language, relevance inline, importance inline, importance-inline, copyedit inline,
    inappropriate tone, full citation needed, full, fcn, incomplete short citation, cite quote, quote needed,
    request quote, qn, need quotation, chronology citation needed, speculation inline, contradict inline,
    contradictory inline, inconsistent, incomprehensible inline, non-primary source needed, medical citation needed,
    mcn, medrs, medref, unbalanced opinion, nonspecific, tone, fv, ambiguous, disambiguation needed, dn, dab needed,
    disamb needed, self reference inline, dead link, deadlink, dl, broken link, webarchive, wayback, cbignore,
    subscription required, subscription, registration required, registration, closed access, open access,
    free access, paywall, link note, self-published, self-reference, year needed, date missing, name needed,
    season needed, time needed, needs independent confirmation, pronunciation needed, pronunciation, respell,
    pronounced, pron-en, prounciation-needed, usdagraph, incoherent, citation style, missing information inline,
    opinion, neologism inline, buzz, fix, request audio, sync, lead missing, expand section, empty section,
    cleanup section =
coord, coordinates, coor title dms, coor dm, coor d, coor at dm, coord missing, geobox, anchor, anchors, shy, wbr,
    zwj, zwnj, zwsp, clear, clr, -, br, toc, toc limit, tocleft, toc right, tocright, col-begin, col-end, col-break,
    col-2, col-3, div col, div col end, colbegin, colend, refbegin, refend, portal, portal inline, commons,
    commonscat, commons category, sister, wikiquote, wikisource, wiktionary, wikt, stub, short description,
    italic title, displaytitle, audio, listen, pronunc, play, sound, inline audio, audio-ipa, speaker icon, icon,
    pdf, pdflink, en icon, en, de icon, fr icon, it icon, es icon, ru icon, ja icon, la icon, loop, increase,
    decrease, steady, gain, loss, dagger, double-dagger, ref-en, good article, featured article, top icon,
    spoken wikipedia, protected, pp, semiprotected, not english, lang icon, languageicon, link language, in lang,
    me, plainlist, endplainlist, unbulleted list, ubl, hlist, flatlist, endflatlist, cot, cob, pad, spaces,
    wide image, multiple image, css image crop, double image, triple image, photomontage, annotated image,
    external media, image frame, image label, family tree, chart, ahnentag, cladogram, clade, barbox, graph,
    life timeline, import-blanktable, wikidata fallback link, page numbers, attached kml, kml, geogroup, ws, null,
    void, nop, noprint, usurped, audio file, shortcut =
ndash, –, endash = –
mdash, —, emdash, em dash = —
snd, spaced ndash, spnd, spaced en dash, s–, sndash, dash, spndash, snds = ␣–␣
spaced mdash, spaced em dash = ␣—␣
nbsp, sp, thinsp, thin space, hair space, space, hsp, nnbsp, 0ws = ␣
·, dot, •, bull, bullet, middot, ·w, ·wrap =␣·␣
' = '
's, '(s) = 's
'" = '"
"', " ' = "'
"' = "'
pipe, ! = |
= = =
!= = ≠
sharp, sharps = ♯
flat, flats = ♭
natural = ♮
plusmn, pm, ± = ±
times, x mark inline = ×
minus = −
pi = π
okina, okina2, wg-apos, hamza = ʻ
asper, ayin = ʿ
degree, deg = °
shinto = {1}
num1, no., no, numero = No. [{1}]
start, end = {1}
cvt/number = {1}
tl, tlx, tlc, tld = {1}
hgroup, zwb = {1}
see tfd, see below = {1}
ety, etymology, wikt-lang, wiktionary-inline, wt, m, linktext2, wikt2, lang-lat2 = @last
pl., plural = {1}
cuneiform, runic, transl2, gothic, script/cuneiform, coptic, script/slavonic, script/coptic, script/old persian,
    scripts = @last
post-nominals, post-nominals/gbr, postnominals = @all
dag, ddag =
party, party name with color, party shading =
mlb.com, imdb name, imdb title, official website, official, url, facebook, twitter, find a grave, imdb, allmusic,
    discogs, allmovie, rotten tomatoes, mojo title, youtube, gutenberg, internet archive, librivox, dmoz,
    worldcat id, hansard, oed, 1911, eb1911, cathencyc, mathworld, planetmath, wikisource author, sep, github,
    chembox =
legend, legend inline, legend2 = {2}
""")

TABLES: dict[str, dict[str, str]] = {
    "en": {
        **{prefix.lower(): f"@ship {prefix}" for prefix in SHIP_PREFIXES},
        **_ENGLISH,
    },
    "ru": _table(template_tables_other.RUSSIAN),
    "uk": _table(template_tables_other.UKRAINIAN),
    "de": _table(template_tables_other.GERMAN),
    "fr": _table(template_tables_other.FRENCH),
}
