# v2a for TPU VMs and TPU node pools. From the root of the repository:
#   docker build --file launch/docker/tpu.Dockerfile --tag v2a:tpu .
FROM python:3.12-slim-bookworm

# The failure of any command of a pipe fails the layer.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /v2a
# Requirements first: they change less often than the code, so the layer is cached.
COPY requirements/run.txt requirements/run.txt
RUN pip install --no-cache-dir --require-hashes --requirement requirements/run.txt \
 && pip install --no-cache-dir "jax[tpu]==$(pip show jax | sed -n 's/^Version: //p')"
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY v2a v2a
RUN pip install --no-cache-dir --no-deps . \
 && python -c 'import v2a.training.loop'

# TPU devices belong to root, so the container runs as root.
# v2a is process 1, so it receives SIGTERM and saves.
ENTRYPOINT ["v2a"]
CMD ["doctor"]
