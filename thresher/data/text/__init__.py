"""Documents into tokens: what is text, how it is tokenised and cut, what is leaked."""
