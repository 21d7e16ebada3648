# Two images from one build: `operator` (operator and lookaside) and `greet` (the example application).
# No syntax line and no BuildKit-only flag, so that the classic builder makes the same images.
ARG BASE=python:3.13-slim
# Only the build stage may know how its host reaches package indexes; nothing of that may be in the final images.
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /build && python3 -m venv --without-pip /venv
COPY requirements/build.txt requirements/image.txt requirements/
RUN /build/bin/pip install --quiet --require-hashes -r requirements/build.txt \
 && /build/bin/pip --python /venv/bin/python install --quiet --no-compile --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# Compile bytecode here, because the root file system is read-only at run time. Skip the Kubernetes client's thousand
# generated models, which are not imported and would be a fifth of the image, except for their packages' __init__.
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist . \
 && /build/bin/pip --python /venv/bin/python install --quiet --no-compile --no-deps /dist/*.whl \
 && /venv/bin/python -m compileall -q -j 0 -x '/kubernetes/.*/(models|api)/[^_]' /venv/lib

FROM build AS example
COPY greet /opt/greet/greet
RUN /venv/bin/python -m compileall -q /opt/greet

FROM ${BASE} AS runtime
# Python's official images have no bytecode of the standard library (docker-library/python#615). Each start would
# compile 250 of its modules, which takes more CPU time than the rest of the start.
RUN python3 -m compileall -q -j 0 -x '/(ensurepip|idlelib|lib2to3|pydoc_data|site-packages|tests?|tkinter|turtledemo)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532

FROM runtime AS greet
# The example is not part of the library.
ENV PYTHONPATH=/opt/greet
COPY --from=example /opt/greet /opt/greet
ENTRYPOINT ["python", "-m", "greet"]

FROM runtime AS operator
# aiohttp loads this file at its import. The default has all public CAs, which take a tenth of a start's CPU time and
# 2 MB of memory. They stay trusted, because OpenSSL looks them up in its folder of CAs.
ENV SSL_CERT_FILE=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt
ENTRYPOINT ["backendpool"]
