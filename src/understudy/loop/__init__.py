"""The loop as a plan of stages and artifacts, its runner, and the commands built on them."""
