# Leaves a backup job's status where the agent of Bailey finds it. POSIX sh; to be sourced:
#
#   . /usr/share/bailey/backup/status.sh
#   bailey_begin home restic             # from here on a status is written however the script ends
#   BAILEY_DESTINATION=sftp:nas:/srv/restic
#   ... the work ...
#   BAILEY_SIZE=123456 BAILEY_FILES=789  # where known
#   bailey_done                          # the run worked
#   bailey_done "two files changed"      # the run worked, with something to say
#   bailey_failed "restic ended with 1"  # it did not; ends the script with 1
#
# A script that ends in any other way leaves "success: false". The file is written beside its place
# and renamed, so that nobody ever reads half of it. docs/backup-status.md describes the format.
#
# BAILEY_DROP: the folder, /var/lib/bailey-agent/backup if nothing else is said. It must be the
# drop_directory of agent.yaml.

bailey_now() {
    date -u +%Y-%m-%dT%H:%M:%SZ
}

# One line of text in double quotes, as YAML and JSON take it. Without control characters, 200
# octets at most.
bailey_quoted() {
    printf '"%s"' "$(printf '%s' "$1" | LC_ALL=C tr '\n\t' '  ' | LC_ALL=C tr -d '\000-\037\177' |
        LC_ALL=C cut -c 1-200 | LC_ALL=C sed 's/\\/\\\\/g; s/"/\\"/g')"
}

# An address without the name and password that may stand in it.
bailey_place() {
    printf '%s' "$1" | LC_ALL=C sed 's|://[^/@]*@|://|'
}

# An optional number: `name: 123`, or nothing when it is no number.
bailey_number() {
    case $2 in
        '' | *[!0-9]*) ;;
        *) printf '%s: %s\n' "$1" "$2" ;;
    esac
}

bailey_write() {
    bailey_new=$(mktemp "$BAILEY_DROP/.$BAILEY_JOB.XXXXXX") || return 1
    {
        printf 'job: %s\n' "$(bailey_quoted "$BAILEY_JOB")"
        printf 'tool: %s\n' "$(bailey_quoted "$BAILEY_TOOL")"
        printf 'started_at: %s\n' "$BAILEY_STARTED"
        printf 'finished_at: %s\n' "$(bailey_now)"
        printf 'success: %s\n' "$1"
        bailey_number size_bytes "${BAILEY_SIZE:-}"
        bailey_number files "${BAILEY_FILES:-}"
        printf 'destination: %s\n' "$(bailey_quoted "$(bailey_place "${BAILEY_DESTINATION:-}")")"
        printf 'message: %s\n' "$(bailey_quoted "$2")"
    } >"$bailey_new" && chmod 644 "$bailey_new" && mv "$bailey_new" "$BAILEY_DROP/$BAILEY_JOB.yaml"
}

bailey_begin() {
    BAILEY_JOB=$1
    BAILEY_TOOL=$2
    BAILEY_DROP=${BAILEY_DROP:-/var/lib/bailey-agent/backup}
    case $BAILEY_JOB in
        '' | .* | *[!A-Za-z0-9._-]*)
            echo "the job's name may hold only letters, digits, '.', '_' and '-': $BAILEY_JOB" >&2
            exit 2
            ;;
    esac
    BAILEY_STARTED=$(bailey_now)
    trap 'bailey_write false "the script ended before the backup was done"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

bailey_done() {
    trap - EXIT
    bailey_write true "${1:-}"
}

bailey_failed() {
    trap - EXIT
    echo "$1" >&2
    bailey_write false "$1"
    exit 1
}
