#!/usr/bin/env bash
# Rooms that talk, and 500 clients that are cut off and come back, again and again: what of it stays in memory?
#
#     tests/compare/soak.sh DORMOUSE MINUTES
#
# Each round makes 400 rooms of its own, so the data grows; the table says how much. It fails where a message was lost, came
# twice or out of order, or where the server does not end in order.
set -euo pipefail

dormouse=$(realpath "$1")
minutes=$2
rounds=0
directory=$(mktemp -d)
"$dormouse" serve --listen 127.0.0.1:0 --data "$directory/data" 2>"$directory/log" &
server=$!
trap 'kill -9 $server 2>/dev/null || true; rm -rf "$directory"' EXIT
for _ in $(seq 100); do
    url=$(grep -o 'http://[0-9.:]*' "$directory/log" | head -1) && break
    sleep 0.1
done
[ -n "${url:-}" ] || { cat "$directory/log" >&2; exit 1; }

# What it holds now: memory of its own in KB, descriptors, data on disk in KB.
sample() {
    echo "$(awk '/RssAnon/ { print $2 }' /proc/$server/status) $(ls /proc/$server/fd | wc -l) $(du -sk "$directory/data" | cut -f1)"
}

failed() {
    tail -n 20 "$directory/bench" "$directory/log" >&2
    exit 1
}

began=$(date +%s)
printf '%8s %12s %12s %12s %10s\n' minutes 'memory, MB' 'at most' descriptors 'data, MB'
for ((from = 0; from < minutes; from += 15)); do
    quarter=$((minutes - from < 15 ? minutes - from : 15))
    : >"$directory/samples"
    while (($(date +%s) < began + (from + quarter) * 60)); do
        "$dormouse" bench rooms --url "$url" --rooms 200 --members 5 --rate 1 --duration 40s &>>"$directory/bench" &
        load=$!
        while kill -0 $load 2>/dev/null; do
            sample >>"$directory/samples"
            sleep 5
        done
        wait $load || failed
        "$dormouse" bench storm --url "$url" --sockets 500 &>>"$directory/bench" || failed
        sample >>"$directory/samples"
        rounds=$((rounds + 1))
    done
    awk -v to=$((from + quarter)) '
        { sum += $1; if ($1 > most) most = $1; if ($2 > files) files = $2; data = $3 }
        END { printf "%8d %12.0f %12.0f %12d %10.0f\n", to, sum / NR / 1024, most / 1024, files, data / 1024 }
    ' "$directory/samples"
done
awk '$1 == "sends" { sent += $2 } $1 == "deliveries" { received += $2 } END { print sent " messages, " received " deliveries" }' "$directory/bench"
kill -TERM $server
wait $server
echo "$rounds rounds, nothing lost, and the server ended in order"
