# v2a for NVIDIA GPUs; CUDA is installed as Python packages, the driver comes from the host. From the root of the repository:
#   docker build --file launch/docker/gpu.Dockerfile --tag v2a:gpu .
FROM python:3.12-slim-bookworm

# The failure of any command of a pipe fails the layer.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /v2a
# Requirements first: they change less often than the code, so the layer is cached.
# `pods` has the clients of object stores; --build-arg PINS=data adds what `v2a data build` needs, Apache Beam among it.
ARG PINS=pods
COPY requirements/${PINS}.txt requirements/pins.txt
RUN pip install --no-cache-dir --require-hashes --requirement requirements/pins.txt \
 && pip install --no-cache-dir "jax[cuda13]==$(pip show jax | sed -n 's/^Version: //p')"
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY data_pipelines data_pipelines
COPY v2a v2a
RUN pip install --no-cache-dir --no-deps . \
 && python -c 'import v2a.training.loop'

# XLA's latency-hiding scheduler and pipelined collectives, instead of a list of flags.
ENV JAX_OPTIMIZATION_LEVEL=O1 XLA_PYTHON_CLIENT_MEM_FRACTION=0.9
# The container runtime mounts the driver if these are set, as in the images of CUDA.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# v2a is process 1, so it receives SIGTERM and saves.
ENTRYPOINT ["v2a"]
CMD ["doctor"]
