"""Pictures into examples."""
