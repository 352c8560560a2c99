#!/bin/sh
# Dumps a PostgreSQL database into a folder and leaves the status for Bailey.
#
#   pg_dump.sh JOB DATABASE FOLDER
#
# The server and the user come from the environment (PGHOST, PGPORT, PGUSER), the password from
# ~/.pgpass or PGPASSFILE. Dumps are named after their time; clearing away old ones is not done here.
set -u
umask 077
. "$(dirname "$0")/status.sh"
[ $# -eq 3 ] || { echo "usage: $0 JOB DATABASE FOLDER" >&2; exit 2; }
bailey_begin "$1" pg_dump
BAILEY_DESTINATION=$3
dump=$3/$2-$(date -u +%Y%m%dT%H%M%SZ).dump

# Written beside its place and renamed, so that a dump that is there is whole.
if ! pg_dump --format=custom --file="$dump.part" -- "$2"; then
    rm -f "$dump.part"
    bailey_failed "pg_dump of $2 failed"
fi
# Read back: the table of contents must be there and name the data of at least one table.
contents=$(pg_restore --list "$dump.part") || bailey_failed "pg_restore cannot read the dump of $2"
mv "$dump.part" "$dump" || bailey_failed "cannot rename $dump.part"

BAILEY_SIZE=$(wc -c <"$dump" | tr -d ' ')
BAILEY_FILES=$(printf '%s\n' "$contents" | grep -c ' TABLE DATA ')
if [ "$BAILEY_FILES" -eq 0 ]; then
    bailey_done "the dump holds no table"
else
    bailey_done "$BAILEY_FILES tables"
fi
