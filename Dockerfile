# An image with segpipe and the weights that anyone may share. docs/howto/containers.md has the commands.
#
#   docker build --build-arg TORCH_INDEX=URL -t segpipe .
#
# Build arguments:
#   COMPUTE      cpu, or cuda for a card
#   TORCH_INDEX  package index with PyTorch's builds for that; empty: the index of all other packages
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST  package index; empty: pip's own
#   EXTRAS       extras of segpipe, such as serve,mlflow; empty: none
#   PYTHON_IMAGE base of the image, with Python 3.11 or newer
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG COMPUTE=cpu
ARG TORCH_INDEX=
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_TRUSTED_HOST=
ARG EXTRAS=serve
ENV PIP_NO_CACHE_DIR=1
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
COPY . /source
WORKDIR /source
RUN python -m venv /opt/segpipe
# an empty argument is none. PyTorch comes alone: its index need not hold the versions of constraints.txt of all else
RUN for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST; do eval "[ -n \"\$$name\" ]" || unset $name; done; \
    /opt/segpipe/bin/python -m pip install --no-deps -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
# PyTorch of another kind would be gigabytes too large, or would not see the card
RUN /opt/segpipe/bin/python -c "import importlib.util, runpy, sys; found = importlib.util.find_spec('torch').submodule_search_locations[0]; made = 'cuda' if runpy.run_path(f'{found}/version.py')['cuda'] else 'cpu'; sys.exit(made != sys.argv[1] and f'PyTorch was built for {made}, the image is for {sys.argv[1]}: give --build-arg TORCH_INDEX with the index of its builds for {sys.argv[1]}')" "$COMPUTE"
RUN for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST; do eval "[ -n \"\$$name\" ]" || unset $name; done; \
    /opt/segpipe/bin/python -m pip install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"
# headers for compilers and PyTorch's tests of itself, 150 MB
RUN cd /opt/segpipe/lib/python3*/site-packages && rm -rf torch/include torch/test

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/segpipe /opt/segpipe
RUN useradd --uid 1000 --create-home segpipe && chmod 1777 /home/segpipe && install -d -o segpipe -m 1777 /data
ENV PATH=/opt/segpipe/bin:$PATH
ENV HOME=/home/segpipe
ENV PYTHONDONTWRITEBYTECODE=1
ENV NVIDIA_VISIBLE_DEVICES=all
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER segpipe
WORKDIR /data
ENTRYPOINT ["segpipe"]
CMD ["--help"]
# as Ctrl-C: the first program of a container does not end by SIGTERM, and trainings save their state
STOPSIGNAL SIGINT
