"""Text from files and command lines, made fit to be printed."""


def printable(text: str) -> str:
    r"""Writes control characters, such as those that move a terminal's cursor, as Python does.

    Example:
        >>> print(printable("digits\x1b[2J"))
        digits\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
