#!/usr/bin/env bash
# What polling a switch costs: Bailey's collector beside snmpbulkwalk and prometheus-snmp-exporter, all
# against the same fast responder in the same run, for the interfaces of a switch with 48 ports (ifTable
# and ifXTable); and 1,000 such switches, 48,000 ports, each minute on one core.
# Needs before: cargo build --release -p bailey-collector -p bailey --bins --examples
#
#   tests/bench/snmp.sh [DEVICES] [SECONDS]     default 1000 devices for 180 s
set -euo pipefail

devices=${1:-1000}
seconds=${2:-180}
few=40
rounds=5
repository=$(cd "$(dirname "$0")/../.." && pwd)
bin=$repository/target/release
folder=$(mktemp -d)
pids=()

finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

# Microseconds on a processor, of all threads of a process.
cpu_us() { cat /proc/"$1"/task/*/schedstat | awk '{sum += $1} END {printf "%.0f", sum / 1000}'; }
resident_kib() { awk '/^VmRSS/ {print $2}' /proc/"$1"/status; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The responder: it ends when its standard input does.
mkfifo "$folder/stay"
"$bin/examples/fleet" "$devices" 16161 <"$folder/stay" >"$folder/fleet" &
fleet=$!
pids+=("$fleet")
exec 9>"$folder/stay"
for _ in $(seq 300); do [ "$(wc -l <"$folder/fleet")" -ge "$devices" ] && break; sleep 0.1; done
head -n "$few" "$folder/fleet" | awk '{print $2}' >"$folder/few"

# snmpbulkwalk: a process for each table, as a script would have it.
walk() {
    while read -r address; do
        for table in 1.3.6.1.2.1.2.2 1.3.6.1.2.1.31.1.1; do
            snmpbulkwalk -v2c -c fleet -Cr25 -m '' -On "$address" "$table" >/dev/null
        done
    done <"$folder/few"
}
export -f walk
export folder
TIMEFORMAT='%U %S'
walk_cpu=$({ time walk; } 2>&1 | awk -v few="$few" '{printf "%.0f", ($1 + $2) * 1e6 / few}')

# snmp_exporter, with the module that its generator writes for IF-MIB.
counters() { # table, name and column of each
    local table=$1; shift
    for pair in "$@"; do
        cat <<YAML
  - {name: ${pair%%:*}, oid: $table.${pair#*:}, type: counter, indexes: [{labelname: ifIndex, type: gauge}]}
YAML
    done
}
{
    cat <<YAML
if_mib:
  walk: [1.3.6.1.2.1.2.2, 1.3.6.1.2.1.31.1.1]
  version: 2
  max_repetitions: 25
  auth: {community: fleet}
  metrics:
YAML
    counters 1.3.6.1.2.1.2.2.1 ifType:3 ifMtu:4 ifSpeed:5 ifAdminStatus:7 ifOperStatus:8 ifLastChange:9 ifInOctets:10 \
        ifInUcastPkts:11 ifInDiscards:13 ifInErrors:14 ifOutOctets:16 ifOutUcastPkts:17 ifOutDiscards:19 ifOutErrors:20
    counters 1.3.6.1.2.1.31.1.1.1 ifHCInOctets:6 ifHCInUcastPkts:7 ifHCOutOctets:10 ifHCOutUcastPkts:11 ifHighSpeed:15
} >"$folder/snmp.yml"
exporter_port=$(free_port)
prometheus-snmp-exporter --config.file="$folder/snmp.yml" --web.listen-address="127.0.0.1:$exporter_port" \
    2>"$folder/exporter.log" &
exporter=$!
pids+=("$exporter")
scrape() {
    while read -r address; do
        curl -sS -o "$folder/scraped" "http://127.0.0.1:$exporter_port/snmp?module=if_mib&target=$address"
    done <"$folder/few"
}
for _ in $(seq 100); do curl -s -o /dev/null "http://127.0.0.1:$exporter_port/" && break; sleep 0.1; done
scrape
grep -q '^ifHCInOctets{' "$folder/scraped" || { echo "snmp_exporter gives nothing:"; cat "$folder/scraped"; exit 1; }
before=$(cpu_us "$exporter")
for _ in $(seq "$rounds"); do scrape; done
exporter_cpu=$((($(cpu_us "$exporter") - before) / rounds / few))
exporter_memory=$(resident_kib "$exporter")

# The collector on one core: everything that it does of a device, judging included.
mkdir -p "$folder/collector/rules"
printf 'site: bench\nzones:\n  inner: {networks: [10.1.0.0/16]}\n' >"$folder/collector/policy.yaml"
printf 'expectations:\n  - device: {interval: 60 s}\n' >"$folder/collector/rules/bench.yaml"
printf 'community: fleet\n' >"$folder/fleet.yaml"
chmod 600 "$folder/fleet.yaml"
taskset -c 0 "$bin/bailey-collector" --state "$folder/collector" --web "127.0.0.1:$(free_port)" \
    --agents "127.0.0.1:$(free_port)" 2>"$folder/collector.log" &
collector=$!
pids+=("$collector")
socket=$folder/collector/bailey.sock
for _ in $(seq 100); do [ -S "$socket" ] && break; sleep 0.1; done
xargs -P 4 -L 1 sh -c '"$0"/bailey --state "$1"/collector device add "$3" --zone inner --name "$2" \
    --credentials "$1"/fleet.yaml >/dev/null' "$bin" "$folder" <"$folder/fleet"

metrics() { curl -sS --unix-socket "$socket" http://localhost/metrics; }
polls() { metrics | awk -v result="$1" '$0 ~ "^bailey_snmp_polls_total.*\"" result "\"" {print $2}'; }
sleep 60
before=$(cpu_us "$collector"); whole=$(polls whole)
sleep "$seconds"
used=$(($(cpu_us "$collector") - before)); whole=$(($(polls whole) - whole))
collector_memory=$(resident_kib "$collector")

row() { printf '%-46s %14s %14s %14s\n' "$@"; }
row "a switch with 48 ports" collector snmp_exporter snmpbulkwalk
row "processor for one poll, microseconds" $((used / (whole > 0 ? whole : 1))) "$exporter_cpu" "$walk_cpu"
row "devices for one second of processor" $((1000000 * whole / (used > 0 ? used : 1))) \
    $((1000000 / exporter_cpu)) $((1000000 / walk_cpu))
row "resident memory, KiB ($devices / $few devices)" "$collector_memory" "$exporter_memory" -
echo "$devices devices, $((devices * 48)) ports at 60 s for $seconds s on one core:" \
    "$(awk -v used="$used" -v seconds="$seconds" 'BEGIN {printf "%.1f", used / seconds / 10000}') % of it"
for result in whole partial silent refused; do echo "polls $result since the start: $(polls "$result")"; done
