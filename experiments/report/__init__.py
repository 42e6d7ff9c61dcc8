"""What the programs write: tables, figures, words, and the files that hold them."""
