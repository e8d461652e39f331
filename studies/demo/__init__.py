"""The two demos: data that every machine has, and a study of each."""
