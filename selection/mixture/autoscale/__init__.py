"""AutoScale (2407.20177): scaling of domains from few runs, the mixture for a larger budget."""
