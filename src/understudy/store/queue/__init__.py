"""The queue: what is to be labeled, who has it, how fast work goes."""
