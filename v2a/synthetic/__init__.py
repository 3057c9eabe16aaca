"""The synthetic set: procedural clips whose sound is caused by the visible scene, with exact ground truth."""
