#!/usr/bin/env bash
# Tests docs/nginx.conf and docs/haproxy.cfg in front of a cluster on this machine: a request, a WebSocket, a server that
# is killed, and one that ends in order. Called by `make balancers` with the program `dormouse`.
#
# It needs nginx, HAProxy, curl and PostgreSQL, and takes about a minute. BALANCERS names those to test.
set -euo pipefail
cd "$(dirname "$0")/../.."
dormouse=$(realpath "$1")
port=${CLUSTER_PORT:-8787}
front=$((port + 10))

for program in curl ${BALANCERS:-nginx haproxy}; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null && continue
    echo "$program is missing: apt-get install nginx haproxy curl" >&2
    exit 1
done
PATH=$PATH:/usr/sbin
work=$(mktemp -d /tmp/dormouse-balancers.XXXXXX)
chmod 755 "$work"
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "$balancer: $1" >&2
    tail -n 20 "$work"/*.log >&2
    exit 1
}

start_cluster() {
    rm -rf "$work/cluster" "$work/pids"
    CLUSTER_PORT=$port CLUSTER_DIR=$work/cluster CLUSTER_STARTED=$work/pids \
        tests/cluster/try.sh "$dormouse" >"$work/cluster.log" 2>&1 &
    cluster=$!
    started+=("$cluster")
    for _ in $(seq 1200); do [ -s "$work/pids" ] && break; sleep 0.1; done
    [ -s "$work/pids" ] || fail "the cluster does not start"
    mapfile -t nodes <"$work/pids"
}

# The files as they are, with the addresses of this machine.
start_nginx() {
    sed -e "s/10\.0\.0\.1:8787/127.0.0.1:$port/; s/10\.0\.0\.2:8787/127.0.0.1:$((port + 1))/" \
        -e "s/10\.0\.0\.3:8787/127.0.0.1:$((port + 2))/; s/listen 80/listen 127.0.0.1:$front/" \
        docs/nginx.conf >"$work/nginx.conf"
    mkdir -p "$work/nginx"
    nginx -p "$work/nginx" -e stderr -c "$work/nginx.conf" \
        -g "daemon off; pid $work/nginx/pid; error_log stderr warn;" >"$work/nginx.log" 2>&1 &
    front_pid=$!
    started+=("$front_pid")
}

start_haproxy() {
    sed -e "s/10\.0\.0\.1:8787/127.0.0.1:$port/; s/10\.0\.0\.2:8787/127.0.0.1:$((port + 1))/" \
        -e "s/10\.0\.0\.3:8787/127.0.0.1:$((port + 2))/; s/bind :80/bind 127.0.0.1:$front/" \
        docs/haproxy.cfg >"$work/haproxy.cfg"
    haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
    front_pid=$!
    started+=("$front_pid")
}

base=/api/realtime/rooms
ask() { # NAME: reads a room through the balancer
    curl -s -o /dev/null -w '%{http_code}' --max-time 5 -H "authorization: Bearer id-ana:ana" \
        "http://127.0.0.1:$front$base/$1/messages" || true
}

# A WebSocket through the balancer, until `curl` is ended; the frames come into the file.
listen() { # ROOM FILE
    curl -s -N --http1.1 --max-time 60 -H "Connection: Upgrade" -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" \
        -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "http://127.0.0.1:$front$base/$1/ws?token=id-bo:bo" >"$2" 2>/dev/null &
    socket=$!
    started+=("$socket")
    for _ in $(seq 50); do grep -aq history "$2" && return; sleep 0.1; done
    fail "a WebSocket gets no history"
}

say() { # ROOM TEXT
    curl -s -o /dev/null -w '%{http_code}' --max-time 5 -X POST -H "authorization: Bearer id-ana:ana" \
        -H "content-type: application/json" -d "{\"content\":\"$2\"}" "http://127.0.0.1:$front$base/$1/messages" || true
}

hears() { # FILE TEXT
    for _ in $(seq 50); do grep -aq "$2" "$1" && return; sleep 0.1; done
    fail "a WebSocket does not hear '$2'"
}

for balancer in ${BALANCERS:-nginx haproxy}; do
    start_cluster
    "start_$balancer"
    for _ in $(seq 100); do [ "$(ask lobby)" = 200 ] && break; sleep 0.1; done
    [ "$(ask lobby)" = 200 ] || fail "a request is not answered"
    for room in one two three four; do
        [ "$(ask "$room")" = 200 ] || fail "a room is not answered"
    done
    listen lobby "$work/heard"
    [ "$(say lobby first)" = 200 ] || fail "a message is not taken"
    hears "$work/heard" first
    kill "$socket"

    # A server dies. The rooms are back within some seconds, and then no request fails.
    kill -9 "${nodes[0]}"
    for _ in $(seq 100); do [ "$(ask lobby)" = 200 ] && [ "$(ask one)" = 200 ] && break; sleep 0.1; done
    sleep 3
    for number in $(seq 30); do
        [ "$(ask "after-$((number % 5))")" = 200 ] || fail "request $number fails after a server has died"
    done
    listen lobby "$work/heard"

    # Another one ends in order.
    kill "${nodes[1]}"
    failed=0
    for number in $(seq 40); do
        [ "$(ask "ending-$((number % 5))")" = 200 ] || failed=$((failed + 1))
        sleep 0.1
    done
    [ "$failed" -le 2 ] || fail "$failed of 40 requests fail while a server ends"
    [ "$(say lobby last)" = 200 ] || fail "a message is not taken by the server that is left"
    kill "$socket" 2>/dev/null || true
    listen lobby "$work/heard"
    grep -aq last "$work/heard" || fail "the last message is not in the room"
    kill "$socket"
    echo "$balancer: a request, a WebSocket, a server that died and one that ended: ok"
    kill "$front_pid" "$cluster"
    wait "$cluster" 2>/dev/null || true
    wait "$front_pid" 2>/dev/null || true
done
