"""Several worker processes under one supervisor: started, watched, replaced, reloaded one after the other, stopped."""
