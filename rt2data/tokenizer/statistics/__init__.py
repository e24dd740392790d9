"""Statistics files of the stacks that train and serve robot policies: read, written, and stated as rules."""
