"""Pools and targets: any source in, prepared examples with stable ids out.

`preparing` has the way from a source to an artefact, `sources` reads rows, `text` and `images` turn them into
artefacts, and `examples` opens these again for training, attribution and evaluation.
"""
