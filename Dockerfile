# Control plane, exporters and generator as one image: locked packages, no root, no compiler.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /build
COPY deploy/requirements.txt ./
RUN python -m venv /opt/rollguard && /opt/rollguard/bin/pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --only-binary :all: --require-hashes --requirement requirements.txt
COPY . .
# The packages above are all that it needs, hatchling included: nothing more is fetched.
RUN /opt/rollguard/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index --no-build-isolation .

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --home-dir /srv/rollguard rollguard && \
    install -d -o rollguard -g rollguard /srv/rollguard /var/lib/rollguard /config
COPY --from=build /opt/rollguard /opt/rollguard
ENV PATH=/opt/rollguard/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER rollguard
WORKDIR /srv/rollguard
ENTRYPOINT ["rollguard"]
CMD ["--help"]
