# Untested as an image: the project is built where no container can run. A test runs the RUN lines outside of one.
#
#   docker build -t streamsite .
#   docker run -p 127.0.0.1:8000:8000 -v streamsite:/app/var streamsite
#
# It sets nothing: the site is in production, closed until something is opened by STREAMSITE_… variables. A SIGTERM is
# answered with an orderly stop within 15 seconds, so the grace period of whoever stops it should be longer.

FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY requirements.txt ./
RUN python -m venv .venv
RUN .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.11-slim-bookworm
WORKDIR /app
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin streamsite
RUN install -d -m 700 -o 10001 -g 10001 var
COPY --from=build /app/.venv .venv
COPY . .
RUN .venv/bin/python -m compileall -q observability streaming streamsite
USER 10001
# The database, the secret key and the embedded server's data.
VOLUME /app/var
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s CMD [".venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
# Inside the container loopback reaches nobody; what is reachable is decided by the published port.
CMD ["sh", "-c", ".venv/bin/python manage.py migrate --verbosity 0 && exec .venv/bin/python manage.py serve --bind 0.0.0.0"]
