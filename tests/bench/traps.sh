#!/usr/bin/env bash
# What a flood of traps costs: polls of switches, reports of agents and informs of a quiet device beside it, and
# whether every datagram is counted; then what snmptrapd makes of the same flood. Needs before:
# cargo build --release -p bailey-collector -p bailey -p bailey-tests --bins --examples
# and net-snmp's snmpinform; snmptrapd is left out where it is not installed.
#
#   tests/bench/traps.sh [RATE] [SECONDS]     default 50000 a second for 10 s
#
# BENCH_BIN names another folder of programs.
set -euo pipefail

rate=${1:-50000}
seconds=${2:-10}
switches=40
repository=$(cd "$(dirname "$0")/../.." && pwd)
bin=${BENCH_BIN:-$repository/target/release}
folder=$(mktemp -d -p "${BENCH_FOLDER:-$repository/target}")
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
printf 'community: public\n' >"$folder/community.yaml"
printf 'community: fleet\n' >"$folder/fleet.yaml"
chmod 600 "$folder"/*.yaml

# The switches: they end when their standard input does.
mkfifo "$folder/stay"
"$bin/examples/fleet" "$switches" "$(free_port)" <"$folder/stay" >"$folder/fleet" &
pids+=("$!")
exec 9>"$folder/stay"
for _ in $(seq 300); do [ "$(wc -l <"$folder/fleet")" -ge "$switches" ] && break; sleep 0.1; done
[ "$(wc -l <"$folder/fleet")" -ge "$switches" ] || { echo "the switches do not answer" >&2; exit 1; }

# A collector of its own with agents and switches, in a state folder of this name.
start() {
    state=$folder/$1
    socket=$state/bailey.sock
    traps_port=$(free_port)
    mkdir -p "$state/rules"
    printf 'site: bench\nzones:\n  inner: {networks: [10.0.0.0/8]}\n' >"$state/policy.yaml"
    printf 'expectations:\n  - device: {interval: 2 s}\n' >"$state/rules/bench.yaml"
    cat >"$folder/collector.yaml" <<YAML
state: $state
web: 127.0.0.1:0
agents: 127.0.0.1:$(free_port)
traps: {listen: "127.0.0.1:$traps_port", credentials: [$folder/community.yaml]}
senders: {127.0.0.1: loud-1, 127.0.0.2: quiet-1}
YAML
    "$bin/bailey-collector" --settings "$folder/collector.yaml" 2>"$state/log" &
    collector=$!
    pids+=("$collector")
    for _ in $(seq 200); do [ -S "$socket" ] && break; sleep 0.1; done
    while read -r name address; do
        "$bin/bailey" --state "$state" device add "$address" --zone inner --name "$name" \
            --credentials "$folder/fleet.yaml" >/dev/null
    done <"$folder/fleet"
    "$bin/bailey-load" provision --state "$state" --agents 100 --keys "$state/keys" >/dev/null
    sleep 5
}
stop() {
    kill "$collector"
    wait "$collector" || true
}

ticks=$(getconf CLK_TCK)
# Seconds of a processor that the threads of this name have had.
used_by() {
    awk -v name="($1)" -v ticks="$ticks" '$2 == name {sum += $14 + $15} END {printf "%.2f", sum / ticks}' \
        /proc/"$collector"/task/*/stat 2>/dev/null
}
page() { curl -s --unix-socket "$socket" "http://localhost/metrics$1"; }
counted() { page "" | sed -n 's/^bailey_traps_total{result="\([a-z_]*\)"} \([0-9]*\)$/\1 \2/p'; }
polls() { page "" | awk '/^bailey_snmp_polls_total/ {split($1, part, "\""); printf "%s %s ", part[2], $2}'; }
# How long the last poll of every switch took, once a second, in milliseconds.
watch_polls() {
    for _ in $(seq "$1"); do
        while read -r name _; do
            page "/device/$name" | awk '/^bailey_snmp_poll_duration_seconds/ {print $2 * 1000}'
        done <"$folder/fleet"
        sleep 1
    done >"$folder/polls"
}
said_of_polls() {
    sort -n "$folder/polls" | awk '{all[NR] = $1} END {
        printf "  a poll of a switch: median %.1f ms, 95 of 100 within %.1f ms (%d seen)\n",
            all[int((NR + 1) / 2)], all[int(NR * 0.95)], NR}'
}
informs() {
    local answered=0
    for nth in $(seq "$1"); do
        if MIBS='' SNMP_PERSISTENT_DIR=$folder/snmp snmpinform -v 2c -c public --clientaddr=127.0.0.2 -t 1 -r 0 \
            "127.0.0.1:$traps_port" '' 1.3.6.1.6.3.1.1.5.4 1.3.6.1.2.1.2.2.1.1."$nth" i "$nth" >/dev/null 2>&1; then
            answered=$((answered + 1))
        fi
    done
    echo "$answered"
}
# What else the collector does meanwhile.
beside() {
    local before after
    before=$(polls)
    watch_polls "$seconds" &
    local watcher=$!
    "$bin/bailey-load" reports --keys "$state/keys" --seconds "$seconds" --pid "$collector"
    wait "$watcher"
    after=$(polls)
    said_of_polls
    echo "  polls before: $before"
    echo "  polls after:  $after"
    echo "  informs of a quiet device acknowledged: $(informs 50) of 50"
}

start quiet
echo "$switches switches polled every 2 s and reports of 100 agents, without a flood:"
beside
stop

start flooded
before=$(used_by traps)
long=$((seconds + 8))
"$bin/bailey-flood" --to "127.0.0.1:$traps_port" --rate "$rate" --seconds "$long" >"$folder/sent" &
flood=$!
pids+=("$flood")
echo "with $rate traps a second from a device beside them:"
beside
wait "$flood"
after=$(used_by traps)
sent=$(($(cat "$folder/sent") + 50))
for _ in $(seq 100); do
    total=$(counted | awk '{sum += $2} END {print sum + 0}')
    [ "$total" -ge "$sent" ] && break
    sleep 0.1
done
echo "  sent $sent, counted $total:"
counted | awk '$2 > 0 {print "    " $1, $2}'
echo "  the thread that reads them: $(awk -v a="$after" -v b="$before" 'BEGIN {printf "%.2f", a - b}') s of a processor in $long s"
[ "$total" -eq "$sent" ] || { echo "not every datagram was counted" >&2; exit 1; }
stop

PATH=$PATH:/usr/sbin
if command -v snmptrapd >/dev/null; then
    peer_port=$(free_port)
    printf 'authCommunity log public\n' >"$folder/snmptrapd.conf"
    MIBS='' SNMP_PERSISTENT_DIR=$folder/peer snmptrapd -f -n -C -c "$folder/snmptrapd.conf" -F '%w\n' \
        -Lf "$folder/heard" "127.0.0.1:$peer_port" 2>/dev/null &
    peer=$!
    pids+=("$peer")
    sleep 2
    "$bin/bailey-flood" --to "127.0.0.1:$peer_port" --rate "$rate" --seconds "$seconds" >"$folder/sent"
    sleep 5
    heard=$(grep -c '^[0-9]*$' "$folder/heard")
    used=$(awk -v ticks="$ticks" '{printf "%.2f", ($14 + $15) / ticks}' "/proc/$peer/stat")
    echo "snmptrapd, the same flood for $seconds s: sent $(cat "$folder/sent"), logged $heard; $used s of a processor"
fi
