"""The explorer: one page in which a person looks at what helped and what hurt, and decides what to keep."""
