# The image of Phasegate: the exporter by default, every other command by name.
#
#   docker build --tag phasegate .
#   docker run --read-only --env DATABASE_URL --env REDIS_URL --publish 9899:9899 phasegate
#
# The root file system may be read-only: only the volume is written to. No RUN line needs root.

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build && \
    /opt/build/bin/pip install --require-hashes --requirement requirements-build.lock
RUN python -m venv --without-pip /opt/phasegate && \
    /opt/build/bin/pip --python /opt/phasegate/bin/python install \
        --require-hashes --requirement requirements.lock
COPY . .
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /dist
RUN /opt/build/bin/pip --python /opt/phasegate/bin/python install --no-deps /dist/*.whl
RUN mkdir /state

FROM python:3.12-slim-bookworm
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="phasegate" \
      org.opencontainers.image.description="From integer keys to UUIDs on a live PostgreSQL, in phases proved by measurement" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/phasegate /opt/phasegate
# Owned by number: a user without an entry in /etc/passwd, as Kubernetes' runAsNonRoot wants it.
COPY --from=build --chown=65532:65532 /state /var/lib/phasegate
ENV PATH=/opt/phasegate/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/phasegate \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PHASEGATE_HEALTH_URL=http://127.0.0.1:9899/-/healthy
USER 65532:65532
WORKDIR /var/lib/phasegate
VOLUME /var/lib/phasegate
EXPOSE 9899
STOPSIGNAL SIGTERM
# Over TLS set PHASEGATE_HEALTH_URL to https://…: on loopback the certificate's name proves nothing,
# and a proxy of the environment must not be asked.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=ssl._create_unverified_context())).open(os.environ['PHASEGATE_HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["phasegate"]
CMD ["exporter", "--storage.path=/var/lib/phasegate"]
