"""Selections from artefacts: the evidence a spec asks for, the selection, its card and export."""
