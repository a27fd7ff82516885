# SPDX-License-Identifier: PostgreSQL
# What the machine is and what its counters say. Sourced by main.

started=$(date +%s)
cpus=$(grep -c ^processor /proc/cpuinfo)

say() {
	_elapsed=$(($(date +%s) - started))
	printf '[%02d:%02d] %s\n' $((_elapsed / 60)) $((_elapsed % 60)) "$*"
}

# How this kernel comes to have msharefs.
mshare_comes_from() {
	if grep -q '^mshare ' /proc/modules 2> /dev/null; then
		echo 'stock kernel + module'
	elif grep -qw msharefs /proc/filesystems; then
		echo 'patched kernel'
	else
		echo none
	fi
}

# name=value lines
describe_machine() {
	echo "kernel=$(uname -srvm)"
	echo "mshare=$(mshare_comes_from)"
	if [ -e /sys/module/mshare/hooks ]; then
		echo "mshare_hooks=$(grep -c . /sys/module/mshare/hooks)"
	fi
	if [ -w /sys/kernel/debug/mshare ]; then
		echo 'mshare_knobs=yes'
	else
		echo 'mshare_knobs=no'
	fi
	echo "command_line=$(cat /proc/cmdline)"
	echo "cpus=$cpus"
	echo "pgbench_threads=$cpus"
	echo "cpu_model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
	for _flag in pcid invpcid pku la57 hypervisor; do
		if grep -qw "$_flag" /proc/cpuinfo; then
			echo "cpu_$_flag=yes"
		else
			echo "cpu_$_flag=no"
		fi
	done
	echo "memory_kb=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
	echo "clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
	echo "transparent_hugepages_shmem=$(cat /sys/kernel/mm/transparent_hugepage/shmem_enabled 2> /dev/null)"
	echo "postgresql=$("$pg_bin/postgres" --version)"
}

# All interrupts of one kind so far, TLB (shootdowns) or CAL (calls of functions).
interrupts() {
	awk -v row="$1:" '$1 == row { for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' /proc/interrupts
}

page_tables_kb() {
	awk '/^PageTables:/ { print $2 }' /proc/meminfo
}

# Minor faults of the server's processes so far: the postmaster, its children,
# and those that have ended, which the kernel counts as their parent's.
server_faults() {
	cat /proc/[0-9]*/stat 2> /dev/null | awk -v postmaster="$1" '
		{ pid = $1; sub(/^.*\) /, "") }
		pid == postmaster || $2 == postmaster { faults += $8 + $9 }
		END { print faults + 0 }'
}
