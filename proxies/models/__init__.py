"""What a model is: its name, its description, its sources and its weights; and the ladder of our own shapes."""
