"""Which template shows what in other languages than English; `template_tables` reads it and explains the lines."""

RUSSIAN = """
s, nobr, nowrap, nobreak, неразрывно, без переноса, nw, мелко, small, крупно, sm, м, свернуть-текст = {1}
нп, iw, не переведено, нп2, нп3, нп4, нп5, не переведено 2, не переведено 3, не переведено 4, не переведено 5,
    переведено, нет статьи, iw2, нпп, ill = @red
lang = {2|text}
comment, abbr, подсказка, comm, аббр, hint, пояснение, всплывающая подсказка = {1}
число, num, formatnum, чс, nbsp-число, numero = @number
км², км2 = {1} км²
кв. км = {1} кв. км
цитата, начало цитаты, quote, цитата2, врезка-цитата, quotation, cquote, blockquote, cytat = ¶{текст|text|1|}¶
конец цитаты, oq, конец цитаты2 = ¶
врезка, врезка цитаты, quote box =
флагификация, флагификация2, флаг+, государство, flag, страна = {1}
флаг, флаг россии, флаг сша, флагок, flagicon, флаг украины, герб, флаг ссср, флаг германии =
год, годы, гг =
тире, -- , tire, mdash = —
^ = <sup>{1}</sup>
дробь, frac, дробь2, sfrac = @frac
e, 10^ = ×10<sup>{1}</sup>
val = @val
st.-sl., ст.-сл., ст-сл, старославянский = {1}
oldnum, стил, d-l, oldstyledate, старый стиль, ос, oldstyle = {1|}
юлианская дата, oldstyledate2, д-л = {1|}
евро, $, доллар, руб = @money
крест, † , умер, died, dead, dagger, умер2 =
sfn, sfn2, sfn0, sfn-1, sfn0-1, ref, ref+, refn, примечания, r, rp, прим, cite web, cite book, cite news, книга,
    статья, публикация, source, источник, источник?, нет аи, нет аи 2, аи, аи?, подст:аи, fact, cn, где, кто, кто?,
    что?, когда?, где?, почему?, какой?, каких?, сколько?, как?, чей?, уточнить, уточнить2, неавторитетный источник,
    неавторитетный источник?, значимость факта, значимость факта?, нейтральность?, проверить, сомнительно,
    достоверность, достоверность2, обновить, обновить данные, ои, орисс?, орисс, оригинальное исследование,
    нет в источнике, не указано, нет сносок, v, stub, недоступная ссылка, битая ссылка, мёртвая ссылка, cite-web,
    проверено, wayback, webarchive, архивировано, недоступно, часть ссылки, страница?, ссылка?, стр,
    неоднозначность?, неясно, нет ссылок =
звук, audio, аудио, медиа, прослушать, lang-fonetic, произношение, ударение? =
ref-en, ref-ru, ref-de, ref-fr, ref-es, ref-uk, ref-it, ref-pl, ref-la, ref-be, ref-ja, ref-zh, ref-info, ref label,
    note, note label, нп?, икона, en icon =
main, основная статья, см. также, смотри также, подробнее, также, о, значения, другие значения, перенаправление,
    redirect, around, falseredirect, перенаправлено, красная ссылка, обзорная статья, main2, seealso, см., also =
coord, координаты, якорь, якорь2, anchor, clear, -, clr, br, wikidata, переход, wikt, wikitl, commons, commonscat,
    портал, listen, внешние медиафайлы, кол, конец кол, конкол, скрытый, hider hiding, начало скрытого блока,
    конец скрытого блока, временные файлы, в планах, фотоколонка, фоторяд, фотомонтаж, фото,
    кадрированное изображение, multiple image, подстраница, спойлер, nobots, rq, избранная статья, хорошая статья,
    дзэн, plainlist, endplainlist, birth date and age, дата рождения, возраст, s-start, флагификация/иконка, выборы,
    погода, население, население в таблице, diagramm, columns-list, перевести, вложенный тег, stl,
    универсальная карточка =
дата = {1} {2} {3}
длина, расстояние = {1} {2}
lang-la2, lang-el2, трансл, translit, unicode, полужирный, политоник, иврит, lang-he2, ruby, polytonic, xlit = @last
нихонго, nihongo, японский = @nihongo
кит-имя, китайский, zh, кит, корейский, япон, lang-zh2, китпинь, палл =
ц, цвет, color, цветная ячейка = @color
math, mvar, формула, м-формула = {1}
s-ref, библ, библия, biblia = {1}
uss, hms = {1}
"""

UKRAINIAN = """
s, nobr, nowrap, small, comment, abbr, підказка, мелко = {1}
нп, iw, не перекладено, нп2, нп3, нп4, нп5, не перекладено 2, не перекладено 5 = {4|2|1}
lang = {2|text}
число, num, formatnum = @number
цитата, початок цитати = ¶{текст|text|1|}¶
кінець цитати = ¶
прапорець, прапор, flagicon, герб =
прапорець+, прапорифікація, флагифікація, flag, країна = {1}
sfn, ref, reflist, примітки, cite web, cite book, книга, стаття, джерело, fact, хто, коли, уточнити, немає джерел,
    чому, де, яким, ким, неавторитетне джерело, сумнівно, перевірити, оновити, ref-en, ref-ru, ref-uk, ref-de,
    ref-fr, ref-pl, webarchive, недоступне посилання, мертве посилання, wayback, аудіо, audio, мова =
main, основна стаття, головна, див. також, докладніше, див., детальніше, seealso, інші значення =
coord, якір, anchor, clear, -, commons, commonscat, портал, фото, кол, конец кол, о, переклад =
дріб, frac = @frac
тире = —
"""

GERMAN = """
nowrap, small, kursiv, nobr, unicode, polytonisch, overline, enspar, rechtschreibung, sperrschrift, s, ss, g,
    spell = {1}
lang, arabisch, dialekt = {2|text}
lang1 = @last
", zitat", "| = „{Text|text|1}“
zitat, zitat-en, zitat-fr, zitat-la, zitat-es, zitat-it, centerquote, blockquote, quote, cquote = ¶{Text|text|1}¶
zitat-transl = {1}
heS, hes, hebr, he, armS, fas, ar, fa, ur, kyrl, deva, asian = {1}
nihongo, japanisch = {1|2|3}
zh, cn, japS, jaS, koS, thS, ukrS, rus =
russisch, russs, rus2, russ = {1}
abkürzung, abk., tooltip, abbr, frac/abk = {1}
formatnum, zahl, formatzahl, nts, fz, numero = @number
bruch, frac, sfrac = @frac
euro = {1} Euro
höhe, höhe2, höhe3 = {1} m
dts, datum = {1}
§, art. = § {1}[ {2}]
bibel, b, bb, bibleverse = {1|} {2|}[,{3}]
ndash, – = –
linktext, farbe, color, farblegende, legende = @last
internetquelle, literatur, webarchiv, toter link, belege, belege fehlen, beleg, refn, anker, siehe auch,
    hauptartikel, audio, coordinate, coord, all coordinates, begriffsklärungshinweis,
    dieser artikel, pnd, normdaten, commonscat, commons, wikisource, wiktionary, wikiquote, fn, fnbox, fnz, fußnote,
    anmerkung, metadaten einwohnerzahl, ez, dnb-portal, bgbl, ref, r, fn-referenz, dead link, absatz,
    mehrere bilder, panorama, wahldiagramm, zeitleiste, klimatabelle, siehe, ew, infobox, einwohner, cite web,
    cite book, cite journal, cite news, portal, hinweis, ~, hl, kasten, allmusic, imdb, gutenberg, alpha, inkscape,
    0, webachiv, der spiegel, eb, drei, kk, bausteindesign, hohe auflösung, höhenlage, exzellent, lesenswert,
    staat =
flagge, flag, de, us, fr, gb, it, es, ch, at, nl, pl =
"""

FRENCH = """
s-, s, siècle, s2, -s, -s-, s mini-, sp-, sap- = @siècle
s-apjc, sav jc, av jc, avjc = {1}[{2}] siècle av. J.-C.
-siècle = @siècle
nobr, nowrap, petit, grand, souligner, abréviation, abrd, abr, abbr, sc, petites capitales, pc, romain, nom, prénom,
    cap, citation étrangère, formule, math, exp2, surligner, incise, tiret simple, em, minuscules, italique,
    langue inline = {2|1}
incise, tiret, tirets = – {1} –
lang, langue = {texte|3|2|1}
lang1, transl = @last
unité, unité/2, unite, unité2, nombre, nb, formatnum, num, nombre2, montant, heure2, tmin = @unit
lien, ill, trad, lien rouge, interlangue = {texte|trad|fr|1}
citation, cita, citation étrangère2, «, « », guil, citation nécessaire inline, "-" = « {1} »
citation bloc, début citation, bloc citation, citebloc, blockquote, citation verset, quote, extrait, poème, vers,
    épigraphe = ¶{texte|contenu|1|}¶
fin citation = ¶
tmp = @unit
latin, lang-latin = {1}
en langue = {2|1}
date, date-, date de naissance, date de décès, naissance, date2, jour = @date
1er, ier, premier = 1er
1re, ière, première = 1re
er = er
re = re
e, è, ème, ème2 = e
exp, sup = <sup>{1|}</sup>
ind, sub, indice = <sub>{1|}</sub>
n°, no, numéro, nº, n = n° {1|}
nos, n°s = n°s {1|}
p., p = p. {1|}
av. j.-c., av j-c, avjc2, -c = av. J.-C.
apr. j.-c. = apr. J.-C.
mme = Mme
mlle = Mlle
mgr = Mgr
m., mr = M.
dr = Dr
st, saint = St
ste = Ste
me, maître = Me
nd = ND
roi, roi2 = {1}
monarque = {1}
empereur = {1}
pape = {1}
louis xiv = Louis XIV
frac, fraction = @frac
euro = {1} €
oe, œ = œ
ae, æ = æ
etc, etc., &c = etc.
rom, romain2, chiffre romain, rom-maj, rom-min = {1}
heure, durée, h = {1}[ h {2}]
passage évasif, référence nécessaire, refnec, référence souhaitée, source insuffisante, à sourcer,
    citation nécessaire, pas clair, précision nécessaire, quoi, qui, quand, où, comment, pourquoi, lequel, par qui,
    préciser, réf souhaitée, non neutre, interprétation personnelle, référence incomplète, référence à confirmer,
    vérification, passage non neutre, passage promotionnel = {1|}
note, sfn, ouvrage, article, lien web, lien brisé, harvsp, références, réf, refn, ref, note group, référence,
    renvoi, harv, plume, en, fr, de, es, it, la, ru, ja, pt, nl, pdf, commentaire biblio, lire en ligne, bdd,
    légifrance, écrit, chapitre, catégorie, catégorie commons, autres projets, portail, palette, ébauche,
    article détaillé, détail, loupe, voir, voir aussi, voir homonymes, coord, ancre, clr, clear,
    prononciation, écouter, drapeau, drapeau2, icône, image, images, multiple image, message galerie,
    boîte déroulante, début de colonnes, fin de colonnes, colonnes, infobox, méta palette de navigation,
    désambiguïsation, mise à jour, à jour, section vide, noinclude, unicode, dead link, webarchive, croissance,
    décroissance, galerie, carte, section, obsolète, arbre, démographie, climat, encadré, largeur, légende, grossir,
    taxobox, bioref, wayback, wikisource, wiktionnaire, wikt, youtube, imdb, allociné, site officiel =
drapeau-nom, pays, france, drapeaunom, flag = {1}
japonais, nihongo = @nihongo
chinois, hanzi, coréen =
"""
