"""The whole loop as a plan of stages and artifacts, its runner, and commands made of the parts."""
