"""Pictures into examples: files decoded into pixels, labelled by class, written as arrays."""
