"""Templates that show numbers and units: {{convert}}, {{val}}, {{frac}}, {{formatnum:…}}, {{US$}}.

Numbers are grouped by the language's rules. Amounts keep the author's unit; converted amounts are left out.
"""

import decimal
import re

_NUMBER = re.compile(r"[-−+]?(?:\d[\d, ]*)?(?:\.\d+)?(?:[eE][-−+]?\d{1,4})?")
_FRACTION = re.compile(r"[-−+]?(?:\d+[+ ])?\d+(?:/{1,2})\d+")
_MAX_DIGITS = 40
_FAR = 15  # powers of ten beyond which a number isn't written out

# thousands, decimals, and from how many digits on there are groups
_STYLES = {
    "de": (".", ",", 5),
    "fr": (" ", ",", 4),
    "ru": (" ", ",", 5),
    "uk": (" ", ",", 5),
}
_ENGLISH = (",", ".", 4)

_RANGES = {
    "to": " to ",
    "-": "–",
    "–": "–",
    "—": "–",
    "&ndash;": "–",
    "&#8211;": "–",
    "to(-)": " to ",
    "to about": " to about ",
    "and": " and ",
    "and(-)": " and ",
    "&": " and ",
    "or": " or ",
    "by": " by ",
    "by(x)": " by ",
    "x": " × ",
    "×": " × ",
    "xx": " × ",
    "*": " × ",
    "+/-": " ± ",
    "±": " ± ",
    "&plusmn;": " ± ",
    "+": " + ",
    "/": "/",
    ",": ", ",
    ", and": ", and ",
    ", or": ", or ",
    "и": " и ",
    "или": " или ",
    "bis": " bis ",
    "à": " à ",
    "et": " et ",
}
_UNITS = {
    "C-change": "°C",
    "F-change": "°F",
    "C": "°C",
    "F": "°F",
    "K-change": "K",
    "sqmi": "sq mi",
    "sqft": "sq ft",
    "sqkm": "km2",
    "cuft": "cu ft",
    "cumi": "cu mi",
    "cuyd": "cu yd",
    "sqyd": "sq yd",
    "sqin": "sq in",
    "cuin": "cu in",
    "mph": "mph",
    "kph": "km/h",
    "km/h": "km/h",
    "lb-f": "lbf",
    "nmi": "nmi",
    "usgal": "US gal",
    "impgal": "imp gal",
    "ST": "short tons",
    "LT": "long tons",
    "MT": "t",
    "MPa": "MPa",
}
# {{convert|5.5|e6acre}}
_MULTIPLE = re.compile(r"e(\d{1,2})")
_MULTIPLES = {"3": "thousand", "6": "million", "9": "billion", "12": "trillion"}
# Units that an amount in two units is written with: {{convert|6|ft|4|in}}.
_NAMES = {
    "mi": ("mile", "miles"),
    "yd": ("yard", "yards"),
    "ft": ("foot", "feet"),
    "in": ("inch", "inches"),
    "st": ("stone", "stone"),
    "lb": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "ch": ("chain", "chains"),
    "furlong": ("furlong", "furlongs"),
    "fathom": ("fathom", "fathoms"),
    "LT": ("long ton", "long tons"),
    "ST": ("short ton", "short tons"),
    "cwt": ("hundredweight", "hundredweight"),
    "qtr": ("quarter", "quarters"),
    "long cwt": ("hundredweight", "hundredweight"),
    "short cwt": ("hundredweight", "hundredweight"),
    "h": ("hour", "hours"),
    "min": ("minute", "minutes"),
    "s": ("second", "seconds"),
}


def number(text: str, language: str) -> str | None:
    """A number in the format of a language; None if the text isn't a number."""
    text = text.strip().replace("&minus;", "-").replace("&nbsp;", "").replace("\xa0", "")
    if not text or len(text) > _MAX_DIGITS or not _NUMBER.fullmatch(text) or not any(map(str.isdigit, text)):
        return _slashed(text)
    plain = text.replace(",", "").replace(" ", "").replace("−", "-")
    mantissa, exponent, power = plain.lower().partition("e")
    if exponent:
        if abs(int(power)) > _FAR:
            return f"{number(mantissa, language)}×10^{int(power)}".replace("-", "−")
        plain = f"{decimal.Decimal(plain):f}"
    whole, point, part = plain.partition(".")
    sign = whole[:1] if whole[:1] in ("-", "+") else ""
    digits = whole.lstrip("+-") or "0"
    thousands, decimals, least = _STYLES.get(language, _ENGLISH)
    if len(digits) >= least:
        digits = f"{int(digits):,}".replace(",", thousands)
    return sign.replace("-", "−") + digits + (decimals + part if point else "")


def _slashed(text: str) -> str | None:
    if not _FRACTION.fullmatch(text) or len(text) > _MAX_DIGITS:
        return None
    return text.replace("//", "/").replace("+", " ")


def convert(values: dict[str, str], language: str) -> str | None:
    """{{convert|60|and(-)|80|kg|lb}}: numbers and what stands between them, then the unit."""
    parts: list[str] = []
    while part := values.get(str(len(parts) + 1)):
        parts.append(part)
    amount = number(parts[0], language) if parts else None
    if amount is None:
        return None
    text, has_times, at = amount, False, 1
    while at + 1 < len(parts) and (between := _RANGES.get(parts[at])):
        following = number(parts[at + 1], language)
        if following is None:
            break
        has_times = has_times or between == " × "
        text += between + following
        at += 2
    if at >= len(parts):
        return text
    unit = parts[at]
    # A second unit may have an amount of its own: 6 feet 4 inches.
    if at == 1 and len(parts) > 3 and unit in _NAMES and parts[3] in _NAMES and (second := number(parts[2], language)):
        text = f"{amount} {_named(amount, unit)} {second} {_named(second, parts[3])}"
        if len(parts) > 5 and parts[5] in _NAMES and (third := number(parts[4], language)):
            text += f" {third} {_named(third, parts[5])}"
        return text
    if (match := _MULTIPLE.match(unit)) and match[1] in _MULTIPLES:
        text, unit = f"{text} {_MULTIPLES[match[1]]}", unit[match.end() :]
    unit = _UNITS.get(unit, unit)
    if has_times:
        text = text.replace(" × ", f" {unit} × ")
    return f"{text}{unit}" if unit in ("%", "°") else f"{text} {unit}"


def _named(amount: str, unit: str) -> str:
    return _NAMES[unit][amount != "1"]


def formatted(values: dict[str, str], language: str) -> str | None:
    """{{formatnum:12345}}, {{число|5}}: a number, and a unit if there is one."""
    text = values.get("1", "")
    if not text:
        return None
    shown = text if values.get("2") == "R" else number(text, language) or text
    unit = values.get("2", "")
    return f"{shown} {unit}" if unit and unit not in ("R", "NOSEP") else shown


def with_unit(values: dict[str, str], language: str) -> str | None:
    """{{unité|5|km|2}}, {{км²|891}}: a number, then words."""
    text = values.get("1", "")
    if not text:
        return None
    units = [values[name] for name in ("2", "3", "4", "5") if values.get(name)]
    return " ".join([number(text, language) or text, *(unit for unit in units if not unit.isdigit())])


def val(values: dict[str, str], language: str) -> str | None:
    """{{val|5.97|0.01|e=24|u=kg}}."""
    text = values.get("1", "")
    if not text:
        return None
    shown = number(text, language) or text
    if (uncertainty := values.get("2", "")) and values.get("3"):
        shown = f"{shown}+{uncertainty}−{values['3']}"
    elif uncertainty:
        shown += f"±{uncertainty}"
    elif "-" in values:
        shown += f"–{values['-']}"
    if exponent := values.get("e"):
        shown += f"×10^{exponent.replace('-', '−')}"
    shown = values.get("p", "") + shown + values.get("s", "")
    if unit := values.get("ul") or values.get("u") or values.get("up") or values.get("upl"):
        shown += unit if unit in ("%", "°") else f" {unit}"
    return shown


def fraction(values: dict[str, str], _: str) -> str | None:
    """{{frac|1|2}} is 1/2, {{frac|3|1|2}} is 3 1/2, {{frac|3}} is 1/3."""
    first, second, third = (values.get(name, "") for name in "123")
    if third:
        return f"{first} {second}/{third}"
    if second:
        return f"{first}/{second}"
    return f"1/{first}" if first else None


def chemical(values: dict[str, str], _: str) -> str | None:
    """{{chem|H|2|O}}, {{chem2|H2O}}."""
    text = "".join(values[name] for name in map(str, range(1, 41)) if name in values)
    return text.replace("auto=1", "").replace("_", "").replace("*", "·") or None


def money(values: dict[str, str], language: str, sign: str = "") -> str | None:
    """{{US$|2 billion}}, {{INR|500}}."""
    text = values.get("1", "")
    return f"{sign}{number(text, language) or text}" if text else sign.strip() or None


def gaps(values: dict[str, str], _: str) -> str | None:
    """{{gaps|1|000|000}}."""
    return "".join(values[name] for name in map(str, range(1, 41)) if name in values) or None


def height(values: dict[str, str], language: str) -> str | None:
    """{{height|ft=5|in=8}}, {{height|m=1.8}}."""
    if metres := values.get("m"):
        return f"{metres} m"
    if centimetres := values.get("cm"):
        return f"{centimetres} cm"
    feet, inches = values.get("ft"), values.get("in")
    if feet:
        return f"{feet} ft {inches} in" if inches else f"{feet} ft"
    return None


_OPERATION = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([-+*/])\s*(-?\d+(?:\.\d+)?)\s*")


def expression(values: dict[str, str], _: str) -> str | None:
    """{{#expr:3+4}}: a number, or one operation on two."""
    text = values.get("1", "")
    if len(text) > _MAX_DIGITS:
        return None
    match = _OPERATION.fullmatch(text)
    if not match:
        return text if _NUMBER.fullmatch(text) and text.strip() else None
    one, other = decimal.Decimal(match[1]), decimal.Decimal(match[3])
    if match[2] == "/":
        return f"{(one / other).normalize():f}" if other else None
    return f"{one + other if match[2] == '+' else one - other if match[2] == '-' else one * other:f}"
