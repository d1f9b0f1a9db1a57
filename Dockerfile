# The package with its commands.
#
#   docker build -t alexnet .                                    on CPUs and on NVIDIA GPUs
#   docker build -t alexnet --build-arg BASE=pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime .
#                                                                with the CUDA and torch of that image
#   docker run --rm -it --gpus all --shm-size 8g -v "$PWD:/work" alexnet train experiment=demo
#
# BASE is any image with Python 3.11 or newer. TORCH_INDEX is where torch is taken from if it is not
# in BASE; PyTorch's index of CPU wheels makes an image without CUDA, a tenth of the size.
ARG BASE=python:3.11-slim
FROM ${BASE}

ARG TORCH_INDEX=""
ARG EXTRAS="export"

# g++ is for torch.compile on CPUs, git for the version. Their releases are those of BASE.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git \
    && rm -rf /var/lib/apt/lists/*

# Which torch goes with the package, pyproject.toml says.
# hadolint ignore=DL3013
RUN python -c "import torch, torchvision" 2>/dev/null \
    || pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]" && rm -rf /src

RUN useradd --create-home --uid 1000 reader
USER 1000
WORKDIR /work
ENV ALEXNET_REPRO_CACHE=/work/.cache
ENTRYPOINT ["alexnet"]
CMD ["--help"]
