"""One module for each revision; what they say is frozen and does not follow `tables`."""
