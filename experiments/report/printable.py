"""Text from files and command lines, made fit to be printed."""

NO_BREAK = "\u00a0"  # a space that keeps a number and its error in one line


def printable(text: str) -> str:
    r"""Writes control characters, such as those that move a terminal's cursor, as Python does.

    Example:
        >>> print(printable("digits\x1b[2J"))
        digits\x1b[2J
    """
    return "".join(
        c if c.isprintable() or c == NO_BREAK else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
