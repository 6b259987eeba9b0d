"""Numbers with their nouns."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 point`, `2 points`, `2 entries` where `many` is given."""
    return f"{number} {one if number == 1 else many or one + 's'}"
