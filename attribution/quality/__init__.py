"""How far scores can be trusted: the linear datamodeling score, agreement, baselines."""
