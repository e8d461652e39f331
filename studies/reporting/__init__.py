"""From a finished study to what its report says."""
