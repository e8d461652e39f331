"""Features of a pool on disk: written once, read block by block."""
