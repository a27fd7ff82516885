# SPDX-License-Identifier: PostgreSQL
# The server under test: its data, start, prewarming and end. Sourced by main.

pg_bin=${PG_BIN:-/usr/lib/postgresql/15/bin}
place=$(mktemp -d "${TMPDIR:-/tmp}/pg_mshare-bench.XXXXXX")
export PGHOST=$place PGUSER=postgres PGDATABASE=bench PGOPTIONS=
postmaster=

# The server refuses to run as root.
as_server() {
	if [ "$(id -u)" -eq 0 ]; then
		su postgres -s /bin/sh -c "$*"
	else
		sh -c "$*"
	fi
}

sql() {
	"$pg_bin/psql" -X -A -t -q -F ' ' -P pager=off -v ON_ERROR_STOP=1 "$@"
}

server_unpack() {
	say "unpacking the data into memory"
	mkdir "$place/pristine"
	tar -C "$place/pristine" -xf "$plan_data"
	[ "$(id -u)" -ne 0 ] || chown -R postgres "$place"
	chmod 755 "$place"
}

provider_of() {
	case $1 in
	memfd | mprotect*) echo mprotect ;;
	mshare*) echo mshare ;;
	esac
}

# Huge pages are reserved for the arms that use them, and given back.
nr_huge_pages=/proc/sys/vm/nr_hugepages
huge_pages_before=

huge_pages_reserve() {
	_wanted=$(as_server "'$pg_bin/postgres' -C shared_memory_size_in_huge_pages -D '$place/data'" 2> /dev/null)
	huge_pages_before=$(cat $nr_huge_pages)
	# Memory that was just in use may need a second look.
	for _ in 1 2 3; do
		{ echo $((huge_pages_before + _wanted)) > $nr_huge_pages; } 2> /dev/null || return 0
	done
}

huge_pages_release() {
	if [ -n "$huge_pages_before" ]; then
		echo "$huge_pages_before" > $nr_huge_pages
		huge_pages_before=
	fi
}

server_settings() {
	cat <<END
shared_buffers = $plan_pool
max_connections = $plan_connections
autovacuum = off
huge_pages = $([ "$1" = hugetlb ] && echo on || echo off)
jit = off
max_parallel_workers_per_gather = 0
checkpoint_timeout = 1h
max_wal_size = 4GB
listen_addresses = ''
unix_socket_directories = '$place'
log_error_verbosity = terse
END
	if [ -n "$(provider_of "$1")" ]; then
		echo "shared_preload_libraries = 'pg_mshare'"
		echo "pg_mshare.provider = $(provider_of "$1")"
	fi
	case $1 in
	*-huge) echo "pg_mshare.huge_pages = on" ;;
	esac
}

server_lacks_huge_pages() {
	grep -q -i 'huge pages\|could not map anonymous shared memory' "$log"
}

# Why it did not start, in one line.
server_complaint() {
	{ grep -m 1 'FATAL' "$log" || tail -n 1 "$log"; } | sed 's/.*FATAL: *//'
}

# Starts a server for an arm on a fresh copy of the data, all of it in buffers.
server_start() {
	_arm=$1
	_log=$2
	rm -rf "$place/data"
	cp -a "$place/pristine" "$place/data"
	server_settings "$_arm" >> "$place/data/postgresql.conf"
	# The log is written in memory, and kept as the server's when it stops.
	log=$_log
	case $_arm in
	hugetlb | *-huge) huge_pages_reserve ;;
	esac
	as_server "'$pg_bin/pg_ctl' start -s -w -t 120 -D '$place/data' -l '$place/data/log'" || {
		cp "$place/data/log" "$log"
		huge_pages_release
		return 1
	}
	postmaster=$(head -n 1 "$place/data/postmaster.pid")
	if [ -n "$(provider_of "$_arm")" ]; then
		sql -c 'create extension pg_mshare' || return 1
		sql -c 'select provider from pg_mshare_status' > "$place/provider" || return 1
		[ "$(cat "$place/provider")" = "$(provider_of "$_arm")" ] || return 1
	fi
	say "$_arm: server up, $(sql -f "$here/prewarm.sql") of data in buffers"
	sql -f "$here/data_bytes.sql" > "$output/data_bytes"
}

server_stop() {
	as_server "'$pg_bin/pg_ctl' stop -s -w -t 120 -m fast -D '$place/data'" ||
		as_server "'$pg_bin/pg_ctl' stop -s -w -t 120 -m immediate -D '$place/data'" || true
	cp "$place/data/log" "$log"
	postmaster=
	huge_pages_release
}

# At the end, whatever happened.
server_kill() {
	if [ -n "$postmaster" ]; then
		cp "$place/data/log" "$log" || true
		as_server "'$pg_bin/pg_ctl' stop -s -m immediate -D '$place/data'" || true
	fi
	huge_pages_release
	rm -rf "$place"
}
