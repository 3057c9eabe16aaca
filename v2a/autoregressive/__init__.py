"""Token generation: codebook patterns, losses, sampling. Independent of the network: takes functions."""
