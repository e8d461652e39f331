"""Where the parts meet: one module a command, the pipeline, the report."""
