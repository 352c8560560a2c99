#!/usr/bin/env bash
# What a flood of traps costs: reports of agents and informs of a quiet device beside it, and whether every
# datagram is counted. Needs `cargo build --release --workspace` before, and net-snmp's snmpinform.
#
#   tests/bench/traps.sh [RATE] [SECONDS]     default 50000 a second for 10 s
#
# BENCH_BIN names another folder of programs.
set -euo pipefail

rate=${1:-50000}
seconds=${2:-10}
repository=$(cd "$(dirname "$0")/../.." && pwd)
bin=${BENCH_BIN:-$repository/target/release}
folder=$(mktemp -d -p "${BENCH_FOLDER:-$repository/target}")
collector=
flood=
finish() {
    [ -z "$flood" ] || kill "$flood" 2>/dev/null || true
    [ -z "$collector" ] || kill "$collector" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)"
state=$folder/state
mkdir -p "$state"
printf 'site: bench\nzones:\n  inner: {networks: [10.0.0.0/8]}\n' >"$state/policy.yaml"
printf 'community: public\n' >"$folder/community.yaml"
chmod 600 "$folder/community.yaml"
cat >"$folder/collector.yaml" <<YAML
state: $state
web: 127.0.0.1:0
agents: 127.0.0.1:7790
traps: {listen: "127.0.0.1:7162", credentials: [$folder/community.yaml]}
senders: {127.0.0.1: loud-1, 127.0.0.2: quiet-1}
YAML
"$bin/bailey-collector" --settings "$folder/collector.yaml" 2>"$folder/log" &
collector=$!
for _ in $(seq 200); do [ -S "$state/bailey.sock" ] && break; sleep 0.1; done

ticks=$(getconf CLK_TCK)
# Seconds of a processor that the threads of this name have had.
used_by() {
    awk -v name="($1)" -v ticks="$ticks" '$2 == name {sum += $14 + $15} END {printf "%.2f", sum / ticks}' \
        /proc/"$collector"/task/*/stat 2>/dev/null
}
counted() {
    curl -s --unix-socket "$state/bailey.sock" http://localhost/metrics |
        sed -n 's/^bailey_traps_total{result="\([a-z_]*\)"} \([0-9]*\)$/\1 \2/p'
}
informs() {
    local answered=0
    for nth in $(seq "$1"); do
        if MIBS='' SNMP_PERSISTENT_DIR=$folder/snmp snmpinform -v 2c -c public --clientaddr=127.0.0.2 -t 1 -r 0 \
            127.0.0.1:7162 '' 1.3.6.1.6.3.1.1.5.4 1.3.6.1.2.1.2.2.1.1."$nth" i "$nth" >/dev/null 2>&1; then
            answered=$((answered + 1))
        fi
    done
    echo "$answered"
}

"$bin/bailey-load" provision --state "$state" --agents 100 --keys "$folder/keys"
echo "reports of 100 agents, without a flood:"
"$bin/bailey-load" reports --keys "$folder/keys" --seconds "$seconds" --pid "$collector"
echo "  informs of a quiet device acknowledged: $(informs 50) of 50"

before=$(used_by traps)
"$bin/bailey-flood" --to 127.0.0.1:7162 --rate "$rate" --seconds "$((seconds + 5))" >"$folder/sent" &
flood=$!
echo "with $rate traps a second from a device beside them:"
"$bin/bailey-load" reports --keys "$folder/keys" --seconds "$seconds" --pid "$collector"
echo "  informs of a quiet device acknowledged: $(informs 50) of 50"
wait "$flood"
flood=
after=$(used_by traps)
sent=$(($(cat "$folder/sent") + 100))
for _ in $(seq 100); do
    total=$(counted | awk '{sum += $2} END {print sum + 0}')
    [ "$total" -ge "$sent" ] && break
    sleep 0.1
done
echo "  sent $sent, counted $total:"
counted | awk '$2 > 0 {print "    " $1, $2}'
echo "  the thread that reads them: $(awk -v a="$after" -v b="$before" 'BEGIN {printf "%.2f", a - b}') s of a processor in $((seconds + 5)) s"
[ "$total" -eq "$sent" ] || { echo "not every datagram was counted" >&2; exit 1; }
