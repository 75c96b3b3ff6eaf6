"""What the train step of an experiment takes on devices that are not there, found by compiling it."""
