# One image for every role: `serve`, `receive`, `work` and all other verbs. See docs/deploy.md.
#
# BASE is any image with Debian's or python.org's Python 3.11 or newer and its `venv` module.
# It is pinned by version; pin its digest too (name@sha256:...) where you build for production.
ARG BASE=docker.io/library/python:3.13.14-slim-trixie

FROM ${BASE} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# What builds stays here: the environment that is copied below holds no pip and no backend.
COPY constraints.txt ./
RUN python3 -m venv --without-pip /opt/fal-consumer \
 && python3 -m venv tools \
 && tools/bin/pip install --constraint constraints.txt hatchling

# Dependencies first: their layer survives every change of our own code.
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
      > requirements.txt \
 && tools/bin/pip --python /opt/fal-consumer install --only-binary :all: \
      --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY consumer consumer
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && tools/bin/pip --python /opt/fal-consumer install --no-deps dist/*.whl


FROM ${BASE}
LABEL org.opencontainers.image.title="fal-consumer" \
      org.opencontainers.image.description="The service between fal.ai and your own systems" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number that is nobody's elsewhere; the folder is the volume's first content and owner.
RUN groupadd --gid 10001 consumer \
 && useradd --uid 10001 --gid consumer --home-dir /data --no-create-home --no-log-init \
      --shell /usr/sbin/nologin consumer \
 && install --directory --owner consumer --group consumer --mode 0700 /data
COPY --from=build /opt/fal-consumer /opt/fal-consumer

# Inside a container loopback is nobody's but its own, so the console listens on all of its
# addresses; it is never open, and publishing its port stays your choice.
ENV PATH=/opt/fal-consumer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    FAL_CONSUMER_DATA_DIR=/data \
    FAL_CONSUMER_CONSOLE_LISTEN=0.0.0.0:8081
VOLUME /data
WORKDIR /data
USER 10001:10001
EXPOSE 8080 8081

# Every role has a console, and its /healthz needs no token. http.client takes no proxy from the
# environment, which urllib would.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8081, timeout=3); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]

# Exec form: the process is number 1 and takes the signal itself; it starts no others.
STOPSIGNAL SIGTERM
ENTRYPOINT ["fal-consumer"]
CMD ["serve"]
