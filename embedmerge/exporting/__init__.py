"""A merged model on its way out: what servers read of it, other runtimes' files, and the hub."""
