# SPDX-License-Identifier: PostgreSQL
# The servers under test: their data, start, prewarming and end. Sourced by main.
# Each arm has one, in a folder of its own; server_use says which one is meant.

pg_bin=${PG_BIN:-$(echo /usr/lib/postgresql/*/bin)}
place=$(mktemp -d "${TMPDIR:-/tmp}/pg_mshare-bench.XXXXXX")
export PGUSER=postgres PGDATABASE=bench PGOPTIONS=
server_pool=$plan_pool
running=
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

# The files of table "wide" are kept apart: nobody writes them, so that all
# servers can have the same ones.
server_unpack() {
	say "unpacking the data into memory"
	mkdir "$place/pristine" "$place/wide"
	tar -C "$place/pristine" -xf "$plan_data"
	fault_group_set "$(id -g postgres 2> /dev/null || id -g)"
	wide=$(cat "$place/pristine/bench_wide")
	mv "$place/pristine/$wide" "$place/pristine/$wide".* "$place/wide" 2> /dev/null || true
	[ "$(id -u)" -ne 0 ] || chown -R postgres "$place"
	chmod 755 "$place"
}

provider_of() {
	case $1 in
	memfd | mprotect*) echo mprotect ;;
	mshare*) echo mshare ;;
	esac
}

# Huge pages are reserved for the servers that use them, and given back.
nr_huge_pages=/proc/sys/vm/nr_hugepages
huge_pages_before=$(cat $nr_huge_pages 2> /dev/null || true)

huge_pages_reserve() {
	_more=$(as_server "'$pg_bin/postgres' -C shared_memory_size_in_huge_pages -D '$data'" 2> /dev/null)
	_wanted=$(($(cat $nr_huge_pages) + _more))
	# Memory that was just in use may need a second look.
	for _ in 1 2 3; do
		{ echo $_wanted > $nr_huge_pages; } 2> /dev/null || return 0
	done
}

huge_pages_release() {
	[ -z "$huge_pages_before" ] || { echo "$huge_pages_before" > $nr_huge_pages; } 2> /dev/null || true
}

# Whose reads from disk may wait in the kernel for a reopening: the server's.
fault_group=/proc/sys/vm/mshare_fault_group
fault_group_before=$(cat $fault_group 2> /dev/null || true)

fault_group_set() {	# GROUP
	[ -z "$fault_group_before" ] || { echo "$1" > $fault_group; } 2> /dev/null || true
}

server_settings() {
	cat <<END
shared_buffers = $server_pool
max_connections = $plan_connections
autovacuum = off
huge_pages = $([ "$1" = hugetlb ] && echo on || echo off)
jit = off
max_parallel_workers_per_gather = 0
checkpoint_timeout = $plan_checkpoint_timeout
max_wal_size = $plan_max_wal_size
listen_addresses = ''
unix_socket_directories = '$place/$1'
log_error_verbosity = terse
END
	if [ -n "$(provider_of "$1")" ]; then
		echo "shared_preload_libraries = 'pg_mshare'"
		echo "pg_mshare.provider = $(provider_of "$1")"
		# what is slow is measured, not undone
		echo "pg_mshare.close_timeout = 60s"
	fi
	case $1 in
	*-huge) echo "pg_mshare.huge_pages = on" ;;
	esac
}

server_lacks_huge_pages() {
	grep -q -i 'huge pages\|could not map anonymous shared memory' "$data/log"
}

# Why it did not start, in one line.
server_complaint() {
	{ grep -m 1 'FATAL' "$data/log" || tail -n 1 "$data/log"; } | sed 's/.*FATAL: *//'
}

server_use() {		# ARM
	export PGHOST="$place/$1"
	data=$place/$1/data
	postmaster=$(head -n 1 "$data/postmaster.pid" 2> /dev/null || true)
}

# The log is written in memory, and kept as the server's when it stops.
server_keep_log() {	# ARM
	cp "$place/$1/data/log" "$output/server-$1-$server_pool.log" || true
}

# Processes of the server; 0 where the kernel does not tell.
processes() {
	cat "/proc/$postmaster/task/$postmaster/children" 2> /dev/null | wc -w
}

# Waits until the server has no more than so many backends: one outlives its
# client, and with it the page tables.
backends_end() {	# BACKENDS
	_patience=100
	while [ "$(processes)" -gt $(($(cat "$PGHOST/idle") + $1)) ] && [ $_patience -gt 0 ]; do
		sleep 0.1
		_patience=$((_patience - 1))
	done
}

# Starts a server for an arm on a copy of the data of its own, all of it in
# buffers if it fits.
server_start() {
	server_use "$1"
	rm -rf "${place:?}/$1"
	mkdir "$place/$1"
	cp -a "$place/pristine" "$data"
	for _file in "$place/wide"/*; do
		ln "$_file" "$data/$(dirname "$wide")"
	done
	[ "$(id -u)" -ne 0 ] || chown postgres "$place/$1"
	server_settings "$1" >> "$data/postgresql.conf"
	case $1 in
	hugetlb | *-huge) huge_pages_reserve ;;
	esac
	as_server "'$pg_bin/pg_ctl' start -s -w -t 120 -D '$data' -l '$data/log'" || {
		server_keep_log "$1"
		return 1
	}
	server_use "$1"
	if [ -n "$(provider_of "$1")" ]; then
		sql -c 'create extension pg_mshare' || return 1
		[ "$(sql -c 'select provider from pg_mshare_status')" = "$(provider_of "$1")" ] || return 1
	fi
	say "$1: server up, $(sql -f "$here/prewarm.sql") of data read into $server_pool of buffers"
	sql -f "$here/data_bytes.sql" > "$output/data_bytes"
	sleep 1		# the last session's backend is gone
	processes > "$PGHOST/idle"
}

servers_stop() {
	for arm in $running; do
		server_use "$arm"
		as_server "'$pg_bin/pg_ctl' stop -s -w -t 120 -m fast -D '$data'" ||
			as_server "'$pg_bin/pg_ctl' stop -s -w -t 120 -m immediate -D '$data'" || true
		server_keep_log "$arm"
	done
	running=
	huge_pages_release
}

# At the end, whatever happened.
servers_kill() {
	for arm in $running ${starting:-}; do
		server_use "$arm"
		[ -n "$postmaster" ] || continue
		server_keep_log "$arm"
		as_server "'$pg_bin/pg_ctl' stop -s -m immediate -D '$data'" || true
	done
	huge_pages_release
	fault_group_set "$fault_group_before"
	rm -rf "$place"
}
