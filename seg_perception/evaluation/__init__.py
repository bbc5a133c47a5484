"""What judges the program: labelled data, recordings and the node itself, replayed and measured."""
