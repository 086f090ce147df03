"""Whether rows of an evaluation set stand in a training set: by id, and by their text."""
