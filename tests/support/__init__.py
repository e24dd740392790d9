"""What tests share: corpora, datasets and servers of the kinds that users have, and second computations of rules."""
