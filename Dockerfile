# ray-birds in a container, with the versions of the lock file, for one machine, KubeRay (deploy/rayjob.yaml) or Slurm.
#
#   docker build -t birds .                                   for CPUs
#   docker build -t birds:gpu --build-arg EXTRAS=gpu .        with CUDA's libraries; the host has the driver
#   docker run --rm --shm-size 4g -v "$PWD:/work" -w /work birds ray-birds tune --data birds
#
# A GPU is given by `--gpus all`; the mounted folder must be writable for user 1000.
FROM python:3.11-slim-bookworm

# What to add to the base install, such as gpu or gpu,heic.
ARG EXTRAS=""

# KubeRay asks by wget whether a pod is alive.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*

# The packages first, in a layer that a change of the code leaves as it is: for pip an empty package will do.
WORKDIR /opt/ray-birds
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN mkdir ray_birds && touch ray_birds/__init__.py \
    && pip install --no-cache-dir --constraint requirements.lock ".${EXTRAS:+[$EXTRAS]}"
COPY ray_birds ray_birds
RUN pip install --no-cache-dir --no-deps --force-reinstall .

# NVIDIA's container runtime brings the driver's libraries in by this; which GPUs, who runs the container says.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

RUN useradd --create-home --uid 1000 ray
USER 1000
WORKDIR /home/ray
CMD ["ray-birds", "--help"]
