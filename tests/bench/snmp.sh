#!/usr/bin/env bash
# What polling a switch costs: Bailey's collector beside snmpbulkwalk and prometheus-snmp-exporter, all
# against the same fast responder in the same run, for the interfaces of a switch with 48 ports (ifTable
# and ifXTable); and 1,000 such switches, 48,000 ports, each minute on one core. What is compared is
# processor time, and the median of rounds: of the collector everything that it does of a device, judging
# and writing included, once alone and once while its metrics of every device are scraped each minute, as
# snmp_exporter's are by being asked.
# Needs before: cargo build --release -p bailey-collector --bins --examples
#
#   tests/bench/snmp.sh [DEVICES] [ROUNDS]     default 1000 devices, 3 rounds of a minute each
set -euo pipefail

devices=${1:-1000}
rounds=${2:-3}
few=40
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
median() { sort -n | awk '{all[NR] = $1} END {print all[int((NR + 1) / 2)]}'; }
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
walk_cpu=$(for _ in $(seq "$rounds"); do
    { time walk; } 2>&1 | awk -v few="$few" '{printf "%.0f\n", ($1 + $2) * 1e6 / few}'
done | median)

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
exporter_cpu=$(for _ in $(seq "$rounds"); do
    before=$(cpu_us "$exporter")
    scrape
    echo $((($(cpu_us "$exporter") - before) / few))
done | median)
exporter_memory=$(resident_kib "$exporter")

# The collector on one core: everything that it does of a device, judging included.
mkdir -p "$folder/collector/rules"
printf 'site: bench\nzones:\n  inner: {networks: [10.1.0.0/16]}\n' >"$folder/collector/policy.yaml"
printf 'expectations:\n  - device: {interval: 60 s}\n' >"$folder/collector/rules/bench.yaml"
taskset -c 0 "$bin/bailey-collector" --state "$folder/collector" --web "127.0.0.1:$(free_port)" \
    --agents "127.0.0.1:$(free_port)" 2>"$folder/collector.log" &
collector=$!
pids+=("$collector")
socket=$folder/collector/bailey.sock
for _ in $(seq 100); do [ -S "$socket" ] && break; sleep 0.1; done
# As `bailey device add` does, without a process of it for each device.
while read -r name address; do
    printf '{"address": "%s", "port": %s, "zone": "inner", "name": "%s", "credentials": "community: fleet\\n"}\n' \
        "${address%:*}" "${address#*:}" "$name"
done <"$folder/fleet" >"$folder/wishes"
export socket
xargs -P 4 -d '\n' -n 1 curl -sS -f -o /dev/null --unix-socket "$socket" -H 'Content-Type: application/json' \
    http://localhost/api/v1/devices -d <"$folder/wishes"

metrics() { curl -sS --unix-socket "$socket" http://localhost/metrics; }
polls() { metrics | awk -v result="$1" '$0 ~ "^bailey_snmp_polls_total.*\"" result "\"" {print $2}'; }
sleep 60

# Rounds of a minute, in which each device has one turn; in those with the word `scraped` its metrics are
# asked for, too.
scrape_all() {
    awk '{print "url = \"http://localhost/metrics/device/" $1 "\"\noutput = /dev/null"}' "$folder/fleet" \
        >"$folder/scraping"
    curl -sS --unix-socket "$socket" --rate "$((devices + 60))/m" --config "$folder/scraping"
}
minute() {
    local before whole began
    before=$(cpu_us "$collector"); whole=$(polls whole); began=$SECONDS
    if [ "${1:-}" = scraped ]; then scrape_all; fi
    sleep $((60 - (SECONDS - began) > 0 ? 60 - (SECONDS - began) : 0))
    whole=$(($(polls whole) - whole))
    echo $((($(cpu_us "$collector") - before) / (whole > 0 ? whole : 1)))
}
alone_cpu=$(for _ in $(seq "$rounds"); do minute; done | median)
scraped_cpu=$(for _ in $(seq "$rounds"); do minute scraped; done | median)
collector_memory=$(resident_kib "$collector")

row() { printf '%-44s %12s %14s %14s %14s\n' "$@"; }
row "a switch with 48 ports" collector "and scraped" snmp_exporter snmpbulkwalk
row "processor for one poll, microseconds" "$alone_cpu" "$scraped_cpu" "$exporter_cpu" "$walk_cpu"
row "devices for one second of processor" $((1000000 / alone_cpu)) $((1000000 / scraped_cpu)) \
    $((1000000 / exporter_cpu)) $((1000000 / walk_cpu))
ratio() { awk -v one="$1" -v other="$2" 'BEGIN {printf "%.1f", one / other}'; }
row "times as many as snmp_exporter" "$(ratio "$exporter_cpu" "$alone_cpu")" \
    "$(ratio "$exporter_cpu" "$scraped_cpu")" 1.0 "$(ratio "$exporter_cpu" "$walk_cpu")"
row "resident memory, KiB ($devices / $few devices)" - "$collector_memory" "$exporter_memory" -
echo "$devices devices, $((devices * 48)) ports at 60 s on one core:" \
    "$(awk -v cpu="$alone_cpu" -v devices="$devices" 'BEGIN {printf "%.1f", cpu * devices / 600000}') % of it"
for result in whole partial silent refused; do echo "polls $result since the start: $(polls "$result")"; done
