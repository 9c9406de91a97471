"""Claims of a paper, the experiments that bear on them, and their figures: read, run, judged, drawn."""
