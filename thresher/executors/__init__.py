"""Independent pieces of work, many at once: in processes of this machine, or as tasks of a Ray cluster."""
