# The page, the MCP server and the command line; language models run on servers of their own (docs/DEPLOYMENT.md).
#   docker build -t pasa . && docker run --rm pasa doctor
FROM python:3.11-slim

# Options of pip for torch alone, such as the index of CPU builds that pytorch.org names: they are ten times as small.
ARG TORCH_OPTIONS=""
WORKDIR /app
COPY requirements.txt requirements-vectors.txt ./
RUN pip install --no-cache-dir ${TORCH_OPTIONS} "$(grep '^torch==' requirements.txt)" \
    && pip install --no-cache-dir -r requirements.txt -r requirements-vectors.txt
COPY . .
RUN pip install --no-cache-dir --no-deps -e . \
    && useradd --create-home pasa && mkdir /data && chown pasa /data

USER pasa
# History and caches; libraries are mounted here too.
VOLUME /data
ENV XDG_CACHE_HOME=/data/cache XDG_DATA_HOME=/data HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=3)"]
ENTRYPOINT ["pasa"]
# Beyond its own machine the page asks for the token in PASA_WEB_TOKEN, and does not start without one.
CMD ["web", "--host", "0.0.0.0", "--port", "8080"]
