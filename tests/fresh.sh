#!/usr/bin/env bash
# Runs the two commands of the README from nothing: a fresh clone of the current commit, with empty caches of cargo, npm
# and pip, and nothing built. Changes that are not committed are not in it. Names of commands as arguments run only those:
# `tests/fresh.sh run`, `tests/fresh.sh test`.
set -euo pipefail
cd "$(dirname "$0")/.."
make=${MAKE:-make}
commands=${*:-run test}

place=$(mktemp -d)
server=
finish() {
    # `make run` and what it started are one process group.
    if [ -n "$server" ]; then kill -- "-$server" 2>/dev/null || true; fi
    rm -rf "$place"
}
trap finish EXIT

git clone --quiet . "$place/dormouse"
cd "$place/dormouse"
export CARGO_HOME=$place/cargo npm_config_cache=$place/npm PIP_CACHE_DIR=$place/pip XDG_CACHE_HOME=$place/cache
unset MAKEFLAGS MAKELEVEL CARGO_TARGET_DIR

if [[ " $commands " == *" run "* ]]; then
    began=$SECONDS
    set -m
    $make run LISTEN=127.0.0.1:0 >"$place/run.log" 2>&1 &
    server=$!
    set +m
    # The server prints the address that it listens on when it is ready.
    until address=$(grep -oE -m1 'http://127\.0\.0\.1:[0-9]+' "$place/run.log"); do
        kill -0 "$server" 2>/dev/null || { cat "$place/run.log" >&2; echo "make run ended before the server was ready" >&2; exit 1; }
        sleep 1
    done
    for path in /healthz / /client/index.js '/api/realtime/rooms/lobby/messages?token=1:ana'; do
        curl --silent --show-error --fail --output /dev/null "$address$path"
    done
    kill -- "-$server"
    wait "$server" 2>/dev/null || true
    server=
    echo "make run: the page and a room answered, $((SECONDS - began)) s after a clone"
fi

if [[ " $commands " == *" test "* ]]; then
    began=$SECONDS
    $make test
    echo "make test: passed in $((SECONDS - began)) s"
fi
