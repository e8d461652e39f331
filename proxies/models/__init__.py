"""What a model is: its name, its description, its weights; the ladder of our own shapes."""
