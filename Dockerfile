# One static image for the three services: `docker build -t fealty .`, then
# `docker run fealty serve points`.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /build
COPY . .
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --package fealty-cli \
    && cp target/release/fealty /fealty

FROM scratch
COPY --from=build /fealty /fealty
USER 65532:65532
ENTRYPOINT ["/fealty"]
