"""Numbers with their nouns, as people write them: 1 task, 2 tasks."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: `1 task`, `1,200 steps`.

    Args:
        number: How many.
        noun: Of one.
        plural: Of several; the noun with an `s` where None.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
