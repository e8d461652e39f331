"""The ways to judge, order or filter a pool, one a file."""
