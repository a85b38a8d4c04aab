"""Numbers with nouns: 1 task, 2 tasks."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: `1 task`, `1,200 steps`.

    Args:
        number: The number.
        noun: The singular.
        plural: The plural; None means the noun with an `s`.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
