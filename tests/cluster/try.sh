#!/usr/bin/env bash
# Three servers of a cluster with a primary and a synchronous standby of PostgreSQL on this machine, to try them out. It
# prints where they are and how to stop each of them; Ctrl-C stops all. Called by `make cluster` with the program
# `dormouse`, and by tests/balancers/check.sh.
#
# CLUSTER_PORT is the first of eight ports: three for clients, three for the links between the servers, two for the
# databases. CLUSTER_DIR keeps everything; it must not exist. Without it, everything is removed at the end.
set -euo pipefail
dormouse=$(realpath "$1")
port=${CLUSTER_PORT:-8787}
work=${CLUSTER_DIR:-}

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1) || bin=$(pg_config --bindir 2>/dev/null) || true
[ -x "${bin:-}/postgres" ] || { echo "PostgreSQL is missing: apt-get install postgresql; its service is not needed" >&2; exit 1; }
as_postgres=()
if [ "$(id -u)" = 0 ]; then
    # The server refuses root.
    as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi

if [ -n "$work" ]; then mkdir "$work"; else work=$(mktemp -d /tmp/dormouse-cluster.XXXXXX); fi
chmod 755 "$work"
work=$(realpath "$work")
mkdir "$work/databases"
[ "$(id -u)" != 0 ] || chown postgres:postgres "$work/databases"

nodes=()
finish() {
    trap - EXIT INT TERM
    echo "stopping all servers"
    for pid in "${nodes[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${nodes[@]}"; do wait "$pid" 2>/dev/null || true; done
    for database in standby primary; do
        [ ! -f "$work/databases/$database/postmaster.pid" ] || pg pg_ctl -D "$work/databases/$database" -m fast stop >/dev/null 2>&1 || true
    done
    [ -n "${CLUSTER_DIR:-}" ] && echo "everything is in $work" || rm -rf "$work"
}
trap finish EXIT
trap 'exit 0' INT TERM

pg() { # PROGRAM ARGUMENTS...: of PostgreSQL
    local program=$1
    shift
    (cd / && exec "${as_postgres[@]}" env LC_ALL=C "$bin/$program" "$@")
}

database() { # NAME PORT: starts it
    local directory=$work/databases/$1
    # A group of its own: Ctrl-C in the terminal must not stop it before the servers have ended.
    pg pg_ctl -D "$directory" -l "$directory.log" -w -o "-p $2 -h 127.0.0.1 -k $work/databases" start >/dev/null ||
        { cat "$directory.log" >&2; exit 1; }
}

echo "starting a primary and a standby of PostgreSQL"
pg initdb -D "$work/databases/primary" -U dormouse -A trust -N -E UTF8 --locale=C >/dev/null
cat >>"$work/databases/primary/postgresql.conf" <<'END'
synchronous_standby_names = '1 (standby)'
END
database primary "$((port + 6))" & wait "$!"
pg pg_basebackup -D "$work/databases/standby" -R -X stream -c fast \
    -d "host=127.0.0.1 port=$((port + 6)) user=dormouse application_name=standby"
database standby "$((port + 7))" & wait "$!"

"$dormouse" cluster-key >"$work/cluster.key"
chmod 600 "$work/cluster.key"
# Either of the two may be the primary.
store="postgres://dormouse@127.0.0.1:$((port + 6)),127.0.0.1:$((port + 7))/postgres?sslmode=disable"

node() { # NUMBER: starts it
    local directory=$work/node$1
    mkdir "$directory"
    # As the databases: not in the group of the terminal.
    setsid "$dormouse" serve --listen "127.0.0.1:$((port + $1 - 1))" --data "$directory" --store "$store" \
        --node-address "127.0.0.1:$((port + 2 + $1))" --cluster-key "$work/cluster.key" >"$directory/log" 2>&1 &
    nodes+=($!)
    for _ in $(seq 100); do
        curl -fs -o /dev/null --max-time 1 "http://127.0.0.1:$((port + $1 - 1))/readyz" && return
        kill -0 "$!" 2>/dev/null || break
        sleep 0.1
    done
    echo "server $1 does not start:" >&2
    cat "$directory/log" >&2
    exit 1
}

for number in 1 2 3; do node "$number"; done

echo
for number in 1 2 3; do
    echo "server $number: http://127.0.0.1:$((port + number - 1)), log $work/node$number/log, process ${nodes[number - 1]}"
done
cat <<END
primary:  port $((port + 6)), in $work/databases/primary
standby:  port $((port + 7)), in $work/databases/standby

Open the page of one server in one tab and of another in a second one: both are in the same room.
  end a server in order; sockets of the others stay:   kill ${nodes[0]}
  lose a server; its rooms go on elsewhere:            kill -9 ${nodes[0]}
  lose the primary:   kill -9 \$(head -1 $work/databases/primary/postmaster.pid)
  then promote the standby:   psql -h 127.0.0.1 -p $((port + 7)) -U dormouse postgres \\
      -c "ALTER SYSTEM SET synchronous_standby_names = ''" -c "SELECT pg_promote()"
Ctrl-C stops all.
END
[ -z "${CLUSTER_STARTED:-}" ] || printf '%s\n' "${nodes[@]}" >"$CLUSTER_STARTED"

# Until Ctrl-C.
while sleep 3600 & do wait "$!"; done
