"""Running workflow code again from its history: the event loop, its turns, and how a run is put away."""
