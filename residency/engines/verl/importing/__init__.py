"""Published launch scripts of verl as recipes: read, never run."""
