"""Token generators: codebook patterns, losses, sampling. Knows no network: takes a predict_fn or step_fn."""
