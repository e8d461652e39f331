"""Documents into tokens: which columns are text, how it is tokenised and cut, which documents leak a target."""
