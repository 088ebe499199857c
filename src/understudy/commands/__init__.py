"""Commands about a project: its users, labelers, labels, exports and store. Free of torch."""
