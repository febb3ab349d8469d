#!/usr/bin/env bash
# Tests docs/patroni.yml: two database machines, played on addresses of this one, and a server with clients that talk
# and count lost, doubled and reordered messages. Then the process of the primary dies, and after that its machine.
# In the end it shows strict mode with two machines. Called by `make failover` with the program `dormouse`.
#
# It needs root, Patroni, etcd and PostgreSQL, and takes about three minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
dormouse=$(realpath "$1")

for program in patroni patronictl etcd curl setpriv; do
    command -v "$program" >/dev/null && continue
    echo "$program is missing: apt-get install patroni etcd-server curl" >&2
    exit 1
done
[ "$(id -u)" = 0 ] || { echo "run this as root: PostgreSQL runs as the user postgres" >&2; exit 1; }
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)

work=$(mktemp -d /tmp/dormouse-patroni.XXXXXX)
chmod 755 "$work"
started=()

finish() {
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    for machine in 1 2; do lose "$machine" 2>/dev/null || true; done
    [ -n "${KEEP:-}" ] && echo "logs are in $work" || rm -rf "$work"
}
trap finish EXIT

start() { # LOG COMMAND...: in the background
    local log=$work/$1
    shift
    "$@" >>"$log" 2>&1 &
    started+=($!)
    last=$!
}

machine() { # NUMBER: starts Patroni there
    start "db$1.log" setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig=KILL -- \
        env -C "$work/db$1" HOME="$work/db$1" LC_ALL=C.UTF-8 patroni "$work/db$1/patroni.yml"
    echo "$last" >"$work/db$1/patroni.pid"
}

# The processes of PostgreSQL of a machine, the first one first.
processes() { # NUMBER
    local first
    first=$(head -1 "$work/db$1/data/postmaster.pid" 2>/dev/null) || return 0
    echo "$first"
    pgrep -P "$first" || true
}

lose() { # NUMBER: everything on it dies at once
    kill -9 "$(cat "$work/db$1/patroni.pid")" $(processes "$1")
}

api() { curl -fsS --max-time 2 "http://127.0.1.$1:8008/$2" 2>/dev/null; }

leader() { # The number of the primary; fails if there is none.
    for machine in 1 2; do api $machine primary >/dev/null && { echo $machine; return; }; done
    return 1
}

wait_until() { # SECONDS WHAT COMMAND...
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || { echo "in vain: $what" >&2; KEEP=1; exit 1; }
        sleep 0.2
    done
}

has_standby() { # The machine $1 is a synchronous standby.
    api "$1" sync
}

# Posts a message; succeeds when it is durable.
post() {
    curl -fsS --max-time "${1:-60}" -H 'authorization: Bearer probe:probe' -d '{"content":"hello"}' \
        "$url/api/realtime/rooms/probe/messages" >/dev/null
}

now() { date +%s.%N; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

# Clients talk for a while, and what they hear is checked.
talk() { # SECONDS LOG
    start "$2" "$dormouse" bench rooms --url "$url" --rooms 20 --members 5 --rate 2 --warmup 0s \
        --duration "${1}s"
    talking=$last
}

heard() { # LOG: shows the result; fails if a message was lost, doubled or out of order, or a socket has ended.
    wait "$talking" || { cat "$work/$1"; echo "the clients found faults" >&2; KEEP=1; exit 1; }
    tr '\r' '\n' <"$work/$1" | tail -12
}

start etcd.log etcd --data-dir "$work/etcd" --listen-client-urls http://127.0.1.3:2379 \
    --advertise-client-urls http://127.0.1.3:2379 --listen-peer-urls http://127.0.1.3:2380 --logger zap
for machine in 1 2; do
    mkdir "$work/db$machine"
    sed -e "s/name: db1/name: db$machine/" -e "s/10\.0\.0\.1:\(5432\|8008\)/127.0.1.$machine:\1/" \
        -e 's/hosts: .*/hosts: 127.0.1.3:2379/' -e 's/10\.0\.0\.0/127.0.0.0/' -e 's|127.0.0.0/24|127.0.0.0/8|' \
        -e "s|data_dir: .*|data_dir: $work/db$machine/data|" \
        -e "s|bin_dir: .*|bin_dir: $bin\n  parameters:\n    unix_socket_directories: $work/db$machine|" \
        docs/patroni.yml >"$work/db$machine/patroni.yml"
    chown -R postgres:postgres "$work/db$machine"
    chmod 700 "$work/db$machine"
done
machine 1
wait_until 60 "the first machine is the primary" api 1 primary
machine 2
wait_until 60 "the second machine is a synchronous standby" has_standby 2
PGPASSWORD=change-this "$bin/psql" -qX -h 127.0.1.1 -U postgres -d postgres \
    -c "CREATE ROLE dormouse LOGIN PASSWORD 'secret' IN ROLE pg_monitor" \
    -c "CREATE DATABASE dormouse OWNER dormouse ENCODING 'UTF8' TEMPLATE template0"

store=postgres://dormouse@127.0.1.1,127.0.1.2/dormouse
PGPASSWORD=secret "$dormouse" check --store $store | grep -A1 '^store'
start server.log env PGPASSWORD=secret "$dormouse" serve --listen 127.0.0.1:0 --data "$work/data" --store $store
wait_until 60 "the server serves" grep -q 'ready on' "$work/server.log"
url=$(grep -o 'ready on http://[0-9.:]*' "$work/server.log" | cut -d ' ' -f 3)

echo "== the process of the primary dies"
talk 30 process.log
sleep 5
first=$(head -1 "$work/db$(leader)/data/postmaster.pid")
kill -9 "$first"
from=$(now)
sleep 0.5
post
echo "commits went on after $(since "$from") s"
heard process.log

echo "== the machine of the primary is lost"
wait_until 60 "there is a standby" has_standby $((3 - $(leader)))
talk 60 machine.log
sleep 5
lost=$(leader)
lose "$lost"
from=$(now)
post
echo "commits went on after $(since "$from") s"
heard machine.log

echo "== strict mode with two machines"
machine "$lost"
wait_until 90 "the lost machine is a synchronous standby again" has_standby "$lost"
patronictl -c "$work/db$lost/patroni.yml" edit-config --force -s synchronous_mode_strict=true >/dev/null
sleep 5
left=$lost
lost=$(leader)
lose "$lost"
from=$(now)
wait_until 60 "the other machine is the primary" api "$left" primary
echo "the other machine is the primary after $(since "$from") s"
if post 20; then echo "but a commit was confirmed without a standby" >&2; exit 1; fi
echo "after $(since "$from") s still nothing is confirmed: the lost machine starts again"
machine "$lost"
from=$(now)
wait_until 90 "commits go on" post 5
echo "commits went on $(since "$from") s after that"
