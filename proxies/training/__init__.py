"""One training loop: settings, the order of the data, the objective, the loop, many small models at once."""
