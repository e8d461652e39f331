"""One way to judge, order or filter a pool a file."""
