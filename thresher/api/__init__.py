"""The front door: what `import thresher` gives, a function for each step and a typed handle for each result."""
