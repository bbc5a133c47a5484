"""From recordings to labels: which frames to label, a first answer to correct, the corrected job as a data set."""
