"""A package, so that its fixture for the browser ends with the last of its tests."""
