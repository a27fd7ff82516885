# SPDX-License-Identifier: PostgreSQL
# The runs on a server: each leaves a folder raw/NNNN with what it is (run), the counters
# around it (counters) and the output of what ran. Sourced by main, which sets
# arm and repetition.

run_begin() {
	number=$((number + 1))
	run=$(printf '%s/raw/%04d' "$output" "$number")
	mkdir "$run"
	cat > "$run/run" <<END
arm=$arm
workload=$1
clients=$2
flips_per_s=$3
rep=$repetition
seconds=$plan_seconds
started=$(date +%s)
END
}

run_failed() {
	echo "$*" >> "$run/failed"
}

# What this machine cannot do is no failure.
run_unavailable() {
	echo "$*" > "$run/unavailable"
}

run_end() {
	if [ -e "$run/unavailable" ]; then
		say "$arm: $(cat "$run/unavailable")"
	fi
	if [ -e "$run/failed" ]; then
		failures=$((failures + 1))
		say "FAILED: $(cat "$run/failed")"
	fi
}

count() {
	echo "$1=$2" >> "$run/counters"
}

blocks_read() {
	sql -c "select sum(blks_read) from pg_stat_database"
}

counters_before() {	# BACKENDS-CONNECTED
	count blks_read_before "$(cat "$PGHOST/blks_read" 2> /dev/null || blocks_read)"
	backends_end "$1"
	count minor_faults_before "$(server_faults "$postmaster")"
	count tlb_interrupts_before "$(interrupts TLB)"
	count call_interrupts_before "$(interrupts CAL)"
	count page_tables_kb_before "$(page_tables_kb)"
}

counters_after() {
	count minor_faults_after "$(server_faults "$postmaster")"
	count tlb_interrupts_after "$(interrupts TLB)"
	count call_interrupts_after "$(interrupts CAL)"
	blocks_read > "$PGHOST/blks_read"
	count blks_read_after "$(cat "$PGHOST/blks_read")"
}

# A server's start; what the machine's page tables grow by until all data are in
# its buffers.
run_server() {
	starting=$arm
	run_begin server 0 0
	count page_tables_kb_before "$(page_tables_kb)"
	_started=yes
	if server_start "$arm"; then
		count page_tables_kb_connected "$(page_tables_kb)"
	elif server_lacks_huge_pages; then
		run_unavailable "no huge pages: $(server_complaint)"
		_started=
	else
		run_failed "the server does not start: $(server_complaint)"
		_started=
	fi
	run_end
	starting=
	[ -n "$_started" ]
}

# Have the updating runs left the four tables in agreement?
run_sums() {
	run_begin sums 0 0
	sql -f "$here/sums.sql" > "$run/sums" || run_failed "the sums could not be read"
	read -r _accounts _tellers _branches _history < "$run/sums" || true
	if [ "$_accounts $_tellers $_branches" != "$_history $_history $_history" ]; then
		run_failed "sums disagree: accounts $_accounts, tellers $_tellers, branches $_branches, history $_history"
	fi
	run_end
}

# An open loop of flips by a client of its own, for as long as a run.
flips_start() {
	"$pg_bin/pgbench" -n -c 1 -T "$plan_seconds" -R "$1" -f "$here/flip.sql" > "$run/flips.log" 2>&1 &
	flipper=$!
}

# pgbench's log of transactions, as "us count", the time cut to two digits.
count_latencies() {
	cat "$place"/latency.* 2> /dev/null | awk '
		{
			digits = $3
			for (unit = 1; digits >= 100; unit *= 10)
				digits = int(digits / 10)
			bins[digits * unit]++
		}
		END { for (bin in bins) print bin, bins[bin] }' | sort -n > "$run/latencies"
	rm -f "$place"/latency.*
}

# Waits for pgbench and for the client that flips, if there is one. Where reads
# have to come from the disk and cannot wait for a reopening, that is no failure.
run_ends() {		# PGBENCH FLIPPER
	if ! wait "$1"; then
		_error=$(grep -m 1 error "$run/pgbench.log" || true)
		case $_workload,$_error in
		small-pool,*'could not read block'*'Bad address'*)
			run_unavailable "reads from disk cannot wait for a reopening: ${_error#*ERROR:  }" ;;
		*)
			run_failed "pgbench: $_error" ;;
		esac
	fi
	if [ -n "$2" ]; then
		wait "$2" || run_failed "the client that closes: exit status $?: $(cat "$run"/*s.log | grep -m 1 -i error || true)"
	fi
	sql -f "$here/gone.sql"
}

# What a session does to the whole pool, again and again, under updates: freeze.sql or resize.sql
run_disturbed() {	# WORKLOAD CLIENTS
	_workload=$1 _clients=$2
	run_begin "$1" "$2" 0
	counters_before 0
	"$pg_bin/pgbench" -n -c 1 -T "$plan_seconds" -f "$here/$1.sql" > "$run/$1s.log" 2>&1 &
	flipper=$!
	"$pg_bin/pgbench" -n -c "$2" -j 2 -T "$plan_seconds" -l --log-prefix="$place/latency" -b tpcb-like \
		> "$run/pgbench.log" 2>&1 &
	run_ends $! $flipper
	counters_after
	count_latencies
	say "$(printf '%-13s %-12s %3d clients: %s' "$arm" "$1" "$2" "$(sed -n 's/ (.*//; /^tps/p' "$run/pgbench.log")")"
	run_end
}

run_one_backend() {
	run_begin one-backend 1 0
	sql -f "$here/one_backend.sql" > "$run/one_backend" || run_failed 'the session failed'
	say "$(printf '%-13s one backend reads the pool: %s kB of page tables, %s' "$arm" \
		"$(sed -n 's/^read \([0-9]*\) .*/\1/p' "$run/one_backend")" "$(sed -n '/^Time/{p;q;}' "$run/one_backend")")"
	run_end
}

# Waits until so many processes are there, or pgbench has ended.
all_connected() {	# PROCESSES PGBENCH
	while [ "$(processes)" -lt "$1" ] && kill -0 "$2" 2> /dev/null; do
		sleep 0.2
	done
	sleep 0.5
}

run_pgbench() {		# WORKLOAD CLIENTS FLIPS-PER-SECOND PGBENCH-OPTION...
	_workload=$1 _clients=$2 _flips=$3
	shift 3
	run_begin "$_workload" "$_clients" "$_flips"
	counters_before 0
	_threads=$((_clients < cpus ? _clients : cpus))
	_connected=$(($(processes) + _clients))
	# pgbench counts from its start, and connecting takes time.
	_duration=$((plan_seconds + _clients / 40))
	flipper=
	[ "$_flips" -eq 0 ] || flips_start "$_flips"
	"$pg_bin/pgbench" -n -c "$_clients" -j $_threads -T $_duration -l --log-prefix="$place/latency" "$@" \
		> "$run/pgbench.log" 2>&1 &
	_pgbench=$!
	case $1 in
	-C) sleep 1 ;;
	*) all_connected $_connected $_pgbench ;;
	esac
	count page_tables_kb_connected "$(page_tables_kb)"
	run_ends $_pgbench "$flipper"
	[ -e "$run/failed" ] || grep -q '^tps' "$run/pgbench.log" ||
		run_unavailable "no transaction ended in the $_duration s of the run: the machine was too busy"
	counters_after
	count_latencies
	say "$(printf '%-13s %-12s %3d clients, %3d flips/s: %s' "$arm" "$_workload" "$_clients" "$_flips" \
		"$(sed -n 's/ (.*//; /^tps/p' "$run/pgbench.log")")"
	run_end
}

# As many transactions as are told, after a tenth of them to warm up.
run_counted() {		# WORKLOAD TRANSACTIONS PGBENCH-OPTION...
	run_begin "$1" 1 0
	_transactions=$2
	shift 2
	"$pg_bin/pgbench" -n -c 1 -t $(((_transactions + 9) / 10)) "$@" > "$run/warm.log" 2>&1 || true
	"$pg_bin/pgbench" -n -c 1 -t "$_transactions" "$@" > "$run/pgbench.log" 2>&1 ||
		run_failed "pgbench: $(grep -m 1 error "$run/pgbench.log")"
	say "$arm: $(sed -n 's/ (.*//; /^tps/p' "$run/pgbench.log")"
	run_end
}

# How many backends have read everything and wait for the lock that
# run_backends holds.
backends_waiting() {
	sql -c "select count(*) from pg_locks where locktype = 'advisory' and not granted"
}

# Backends that are connected all at once and have each read every buffer of the
# data (backends), or only pinned each (backends-pin: the cost without the pool).
run_backends() {
	run_begin "$1" "$2" 0
	shift
	rm -f "$place/holder"
	mkfifo "$place/holder"
	sql < "$place/holder" > /dev/null &
	_holder=$!
	exec 3> "$place/holder"
	echo 'select pg_advisory_lock(1);' >&3
	until [ "$(sql -c "select count(*) from pg_locks where locktype = 'advisory' and granted")" -eq 1 ]; do
		sleep 0.2
	done
	counters_before 1
	"$pg_bin/pgbench" -n -c "$1" -j 2 -t 1 -f "$here/$workload.sql" > "$run/pgbench.log" 2>&1 &
	_pgbench=$!
	while kill -0 $_pgbench 2> /dev/null && [ "$(backends_waiting)" -lt "$1" ]; do
		sleep 0.3
	done
	if kill -0 $_pgbench 2> /dev/null; then
		backends_end $((1 + $1))
		count page_tables_kb_connected "$(page_tables_kb)"
		counters_after
		if can_flip "$arm"; then
			yes "$(cat "$here/flip_once.sql")" | head -n "$plan_backends_flips" |
				sql > "$run/flip_times" || run_failed "flips with backends connected failed"
		fi
	fi
	echo 'select pg_advisory_unlock(1);' >&3
	exec 3>&-
	wait $_pgbench || run_failed "pgbench: exit status $?: $(grep -m 1 error "$run/pgbench.log")"
	wait $_holder
	say "$(printf '%-13s %3d %s: page tables %d kB' "$arm" "$1" "$workload" \
		$(($(sed -n 's/^page_tables_kb_connected=//p' "$run/counters") - \
		   $(sed -n 's/^page_tables_kb_before=//p' "$run/counters"))))"
	run_end
}
