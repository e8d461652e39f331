"""Pools and targets: any source in, prepared examples with stable ids out."""
