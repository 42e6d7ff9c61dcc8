"""The programs' options: what was typed, what it means, and what is wrong with it."""
