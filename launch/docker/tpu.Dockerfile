# v2a for TPU VMs and TPU node pools. From the root of the repository:
#   docker build --file launch/docker/tpu.Dockerfile --tag v2a:tpu .
FROM python:3.12-slim-bookworm

# The failure of any command of a pipe fails the layer.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /v2a
# Requirements first: they change less often than the code, so the layer is cached.
# `pods` has the clients of object stores; --build-arg PINS=data adds what `v2a data build` needs, Apache Beam among it.
ARG PINS=pods
COPY requirements/${PINS}.txt requirements/pins.txt
RUN pip install --no-cache-dir --require-hashes --requirement requirements/pins.txt \
 && pip install --no-cache-dir "jax[tpu]==$(pip show jax | sed -n 's/^Version: //p')"
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY data_pipelines data_pipelines
COPY v2a v2a
RUN pip install --no-cache-dir --no-deps . \
 && python -c 'import v2a.training.loop'

# TPU devices belong to root, so the container runs as root.
# v2a is process 1, so it receives SIGTERM and saves.
ENTRYPOINT ["v2a"]
CMD ["doctor"]
