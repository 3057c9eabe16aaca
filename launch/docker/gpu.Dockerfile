# v2a for NVIDIA GPUs; CUDA comes as Python packages, the driver from the host. From the repository's root:
#   docker build --file launch/docker/gpu.Dockerfile --tag v2a:gpu .
FROM python:3.12-slim-bookworm

# A part of a pipe that fails, fails the layer.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /v2a
# Pins first: they change less often than the code, and the layer is kept.
COPY requirements/run.txt requirements/run.txt
RUN pip install --no-cache-dir --require-hashes --requirement requirements/run.txt \
 && pip install --no-cache-dir "jax[cuda13]==$(pip show jax | sed -n 's/^Version: //p')"
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY v2a v2a
RUN pip install --no-cache-dir --no-deps . \
 && python -c 'import v2a.training.loop'

# XLA's latency-hiding scheduler and pipelined collectives, instead of a list of flags.
ENV JAX_OPTIMIZATION_LEVEL=O1 XLA_PYTHON_CLIENT_MEM_FRACTION=0.9
# By these the container runtime brings in the driver; CUDA's own images set them.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# v2a is process 1 and gets the SIGTERM on which it saves.
ENTRYPOINT ["v2a"]
CMD ["doctor"]
