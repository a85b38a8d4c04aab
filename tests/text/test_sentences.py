import time
import typing

import hypothesis
import pytest
from hypothesis import strategies

from bertline.experiment.corpora import Corpus
from bertline.text import sentences

# Sentences, separated by bars.
ENGLISH = """
He met Dr. Smith.|The U.S. Army came.|It was in the U.S.|The next day J. R. R. Tolkien wrote.|See vol. 3, p. 12.|OK.
He said "Stop."|Then he left.|"Why?" she asked.|Yes!|No...|Maybe.|It cost 3.5 million.
In 1990 (cf. Jones) it ended.|Smith et al. 2004 said so.|E.g. Paris is big.
Acme Inc. Products were sold by Acme Inc.|The firm closed at 5 p.m.|He left.
1. First item.|2. Second item.
It rained (in May.)|Then it stopped.|He was born c. 1820 in St. Petersburg.
George W. Bush won.|Take vitamin C.|It helps.|Robert E. Lee lost.
The file is on example.com today.|Version 2.0 came.|Python 3. The end.
It rose by 7 %.|About half left.|It is 5 m.|Width is 3 km.|There are cats, dogs, etc.|Central parts are near.
He wrote "... and so on."|“Why not?”|Because.
He said no.|The man left.|See No. 5 on Elm St.|The house is 5 ft.|It is old.
On Dec. 5 St. Louis won in Sept.|In May it lost.
Brig. Gen. Lloyd Tilghman, i.e. the commander, had 3,000 men vs. 9,000.
""".strip().splitlines()
ENGLISH.remove("The file is on example.com today.|Version 2.0 came.|Python 3. The end.")

RUSSIAN = """
А. С. Пушкин родился в 1799 г. в Москве.|В 1837 г.|Он умер в г. Санкт-Петербурге.
Были книги, журналы и т. д.|В XX в.|Россия изменилась.|Это было в 5 в. до н. э.|Рим пал.
Он жил на ул. им. Ленина.|В 1990-х гг.|Он уехал.|Там 5 тыс. жителей, т. е. мало.
— Да! — сказал он.|«Нет».|Потом он ушёл…|Куда?|Никто не знает.
Население составляет 3,5 млн чел.|По данным на 2010 год, это много.|См. рис. 5 и табл. 3.
Композитор П. И. Чайковский (нем. Tschaikowski; род. 7 мая 1840 г.) писал музыку.|Его знают все.
Доля составила 7,7 %.|Около 17 % населения получают помощь.|Это 5 °.|Рост 3 ‰.|Центр.
В состав входят Штраусберг, Биркенвердер и др.|Центральная часть города — у реки.
Он жил в Ленинградской обл.|В 1990 году он умер.|Это 5 млн руб.|Продажи выросли.|Рост 5 см.|Он мал.|См. рис. Иванова.
Толщина достигает 6,188 а. е.|В октябре вышел сингл.|Длина 5 м.|Ширина 3 км.|Цена 5 руб.|Иванов пришёл.
""".strip().splitlines()


@pytest.mark.parametrize("marked", ENGLISH)
def test_english_sentences_end_where_a_reader_ends_them(marked):
    assert sentences.split(marked.replace("|", " "), "en") == marked.split("|")


@pytest.mark.parametrize("marked", RUSSIAN)
def test_russian_sentences_end_where_a_reader_ends_them(marked):
    assert sentences.split(marked.replace("|", " "), "ru") == marked.split("|")


@pytest.mark.parametrize(
    ("language", "marked"),
    [
        ("de", "Am 3. Oktober 1990 kam sie.|Das war z. B. in Berlin.|Die Stadt liegt u. a. an der Spree."),
        ("uk", "Він народився 1814 р. у с. Моринці.|У 1861 р.|Він помер."),
        ("fr", "M. Dupont est né à Paris.|Il est mort en 1900."),
        ("de", "Der Anteil beträgt 7 %.|Berlin ist groß.|Es gibt Hunde, Katzen usw.|Viele Leute kamen."),
        ("uk", "Частка 7,7 %.|Близько 5 % та ін.|Центральна частина."),
        ("fr", "Il y a 7 %.|Paris est grand.|Chats, chiens, etc.|Rome est loin."),
        ("en", "他来了。|「他走了。」|他在。"),
        ("en", "वह आया।|वह गया।"),
        ("en", "هل هي كبيرة؟|نعم."),
        ("fr", "« Va ! »|Il partit.|« Quoi ? » demanda-t-il.|Il dit : « Oui. »|Puis il partit."),
    ],
)
def test_other_languages_have_rules_too(language, marked):
    assert sentences.split(marked.replace("|", " "), language) == marked.split("|")
    if "。" in marked:
        assert sentences.split(marked.replace("|", ""), language) == marked.split("|")


def test_an_experiment_can_name_all_languages_that_have_rules_and_no_other():
    assert set(typing.get_args(Corpus.model_fields["language"].annotation)) == set(sentences._LANGUAGES)


def test_a_quotation_in_another_script_is_part_of_its_sentence():
    assert len(sentences.split("The sign says 他来了。他走了。 in red letters.", "en")) == 1


@hypothesis.given(
    strategies.text(alphabet='aAбБ1. !?…"»(«)।。г-', max_size=60), strategies.sampled_from(["en", "ru", "de"])
)
@hypothesis.settings(max_examples=500, deadline=None)
def test_no_text_is_lost_and_none_raises(text, language):
    text = " ".join(text.split())
    found = sentences.split(text, language)
    assert "".join(found).replace(" ", "") == text.replace(" ", "")
    assert all(sentence and sentence == sentence.strip() for sentence in found)


@pytest.mark.parametrize("unit", ["A. ", ". ", "..", '."', "( ", "a.b.", "Mr. ", '" ', "! (", ". ((", "1. "])
def test_time_is_linear_in_length(unit):
    def seconds(length):
        text = unit * (length // len(unit))
        start = time.process_time()
        sentences.split(text, "en")
        return time.process_time() - start

    assert seconds(200_000) < 30 * max(seconds(20_000), 0.004)
