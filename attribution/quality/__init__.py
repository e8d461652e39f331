"""How far scores can be trusted: the linear datamodeling score, the agreement of two scorers, and baselines."""
