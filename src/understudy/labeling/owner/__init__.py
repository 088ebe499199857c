"""The owner's half: a module per page, exports in the background, the measures of trust."""
