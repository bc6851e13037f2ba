#!/usr/bin/env bash
# Checks the kernel settings that decide whether a busy relay loses datagrams,
# and changes them on request. See usage below.
set -euo pipefail
# The output is parsed and must have decimal points.
export LC_ALL=C

usage() {
	cat <<'TEXT'
Usage: tune-host.sh [--set] [--persist] [--port N] [--dev NAME]...

Without --set nothing is changed: a table shows the present value, the value
that a busy relay needs, and why.

  --set        change what is OFF, until the next boot (root)
  --persist    the same, and write the sysctls to /etc/sysctl.d/90-srtrelay.conf
  --port N     the relay's UDP port (default 20080)
  --dev NAME   a network card to check; repeatable (default: those with a
               default route)

Exit codes: 0 nothing is OFF, 1 something is OFF, 2 wrong usage.
TEXT
}

set_it='' persist='' port=20080
devices=()
while [ $# -gt 0 ]; do
	case "$1" in
	--set) set_it=yes ;;
	--persist) set_it=yes persist=yes ;;
	--port | --dev)
		[ $# -gt 1 ] || { echo "tune-host: $1: value missing" >&2; exit 2; }
		if [ "$1" = --port ]; then
			case "$2" in
			*[!0-9]* | '') echo "tune-host: --port: $2 is not a port" >&2; exit 2 ;;
			esac
			port=$2
		else
			[ -e "/sys/class/net/$2" ] || { echo "tune-host: --dev: $2 does not exist" >&2; exit 2; }
			devices+=("$2")
		fi
		shift
		;;
	-h | --help) usage; exit 0 ;;
	*) echo "tune-host: $1: unknown argument; see --help" >&2; exit 2 ;;
	esac
	shift
done
if [ -n "$set_it" ] && [ "$(id -u)" -ne 0 ]; then
	echo 'tune-host: --set and --persist need root' >&2
	exit 2
fi
export PATH="$PATH:/usr/sbin:/sbin"
persist_file=${SRTRELAY_SYSCTL_FILE:-/etc/sysctl.d/90-srtrelay.conf}

off=0
persistent=()
row() { # setting, present, wanted, verdict, why
	printf '%-38s %-12s %-12s %-8s %s\n' "$1" "$2" "$3" "$4" "$5"
}
advise() { # setting, present, wanted, why: for a setting that was not changed
	row "$1" "$2" "$3" OFF "$4"
	off=$((off + 1))
}

# at_least raises a kernel setting if it is below the wanted value.
at_least() { # name with dots, wanted, why
	local file="/proc/sys/${1//.//}" have
	if [ ! -r "$file" ]; then
		row "$1" - "$2" absent "not in this kernel or namespace"
		return
	fi
	read -r have <"$file"
	persistent+=("$1 = $2")
	if [ "$have" -ge "$2" ]; then
		row "$1" "$have" "$2" ok "$3"
		# Keep a higher value after the next boot.
		persistent[-1]="$1 = $have"
	elif [ -n "$set_it" ] && { echo "$2" >"$file"; } 2>/dev/null; then
		row "$1" "$have" "$2" SET "$3"
	else
		advise "$1" "$have" "$2" "$3"
	fi
}

row SETTING PRESENT WANTED VERDICT WHY
at_least net.core.rmem_max 16777216 'the relay requests 16 MiB per socket, to hold a burst while a shard does not run'
at_least net.core.wmem_max 16777216 'GSO packets to many callers are queued at once'
at_least net.core.netdev_max_backlog 10000 'per-CPU queue of veth, RPS and loopback; drops when full'
at_least net.core.netdev_budget 600 'packets per softirq round; if too low, the ring overflows'
at_least net.core.netdev_budget_usecs 8000 'time per softirq round'
at_least net.core.optmem_max 131072 'error queue (ICMP errors) and control messages per socket'
at_least fs.nr_open 1048576 'upper limit of open files per process'

# The relay needs a few hundred descriptors at any load; backends on the same
# host may need more.
nofile=$(ulimit -Hn)
if [ "$nofile" = unlimited ] || [ "$nofile" -ge 4096 ]; then
	row 'nofile (ulimit -Hn)' "$nofile" 4096 ok 'sockets of all shards'
else
	advise 'nofile (ulimit -Hn)' "$nofile" 4096 'raise LimitNOFILE= of the service'
fi

# Connection tracking costs a table look-up per packet, and drops when full.
tracking=/proc/sys/net/netfilter/nf_conntrack_count
if [ ! -r "$tracking" ]; then
	row conntrack 'not loaded' 'not on path' ok 'no table look-up per packet'
elif ! command -v nft >/dev/null; then
	row conntrack loaded 'not on path' unknown 'nft is not installed, so the rules cannot be read'
elif ! rules=$(nft list ruleset 2>/dev/null); then
	row conntrack loaded 'not on path' unknown 'only root can read the rules'
elif ! grep -qE '\bct (state|mark|status)|\b(dnat|snat|masquerade|redirect)\b' <<<"$rules"; then
	row conntrack 'not used' 'not on path' ok 'no rule uses it'
elif grep -E '\bnotrack\b' <<<"$rules" | grep -qw "$port"; then
	row conntrack notrack 'not on path' ok "port $port is not tracked"
elif [ -n "$set_it" ] && nft -f - <<-RULES
	table inet srtrelay_notrack {
		chain in { type filter hook prerouting priority raw; policy accept; udp dport $port notrack; }
		chain out { type filter hook output priority raw; policy accept; udp sport $port notrack; }
	}
	RULES
then
	row conntrack tracked 'not on path' SET "table inet srtrelay_notrack: port $port is not tracked; add it to your firewall's file to keep it"
else
	advise conntrack tracked 'not on path' "udp dport $port notrack, udp sport $port notrack in a raw hook; --set adds it until the next boot"
fi

# Network cards.
if [ "${#devices[@]}" -eq 0 ] && command -v ip >/dev/null; then
	while read -r dev; do
		[ -n "$dev" ] && devices+=("$dev")
	done < <({ ip -o route show default; ip -o -6 route show default; } 2>/dev/null | grep -o 'dev [^ ]*' | cut -d' ' -f2 | sort -u)
fi
cpus=$(nproc)
feature() { # device, name of a feature: on, off or nothing
	ethtool -k "$1" 2>/dev/null | sed -n "s/^$2: \([a-z]*\).*/\1/p"
}
wanted_feature() { # device, feature as shown, as set, why
	local have
	have=$(feature "$1" "$2")
	if [ -z "$have" ]; then
		row "$1 $2" - on absent 'not in this driver or kernel'
	elif [ "$have" = on ]; then
		row "$1 $2" on on ok "$4"
	elif [ -n "$set_it" ] && ethtool -K "$1" "$3" on >/dev/null 2>&1; then
		row "$1 $2" off on SET "$4"
	else
		advise "$1 $2" off on "$4"
	fi
}
queues() { # device: receive queues
	find "/sys/class/net/$1/queues" -maxdepth 1 -name 'rx-*' | wc -l
}
steering() { # device: queues or RPS must spread flows over all CPUs
	local n mask spread='' file
	n=$(queues "$1")
	for file in "/sys/class/net/$1"/queues/rx-*/rps_cpus; do
		[ -r "$file" ] || continue
		mask=$(tr -d '0,\n' <"$file")
		if [ -n "$mask" ]; then spread=yes; fi
	done
	if [ "$n" -ge "$cpus" ]; then
		row "$1 receive queues" "$n" "$cpus" ok 'a queue per CPU: RSS spreads the flows'
	elif [ -n "$spread" ]; then
		row "$1 receive queues" "$n+RPS" "$cpus" ok 'RPS spreads the flows in software'
	elif [ -n "$set_it" ] && ethtool -L "$1" combined "$cpus" >/dev/null 2>&1 && [ "$(queues "$1")" -ge "$cpus" ]; then
		row "$1 receive queues" "$n" "$cpus" SET 'a queue per CPU: RSS spreads the flows'
	elif [ -n "$set_it" ] && spread_in_software "$1"; then
		row "$1 receive queues" "$n" "$cpus" SET 'the card has no more queues: RPS spreads the flows'
	else
		advise "$1 receive queues" "$n" "$cpus" 'fewer queues than CPUs: one CPU handles all packets of a queue'
	fi
}
spread_in_software() { # device: RPS over all CPUs
	local mask='' left=$cpus file
	while [ "$left" -gt 0 ]; do
		# Words of 32 CPUs, the lowest last.
		if [ "$left" -ge 32 ]; then
			mask="ffffffff${mask:+,$mask}"
		else
			mask="$(printf '%x' $(((1 << left) - 1)))${mask:+,$mask}"
		fi
		left=$((left - 32))
	done
	for file in "/sys/class/net/$1"/queues/rx-*/rps_cpus; do
		{ echo "$mask" >"$file"; } 2>/dev/null || return 1
	done
}
for dev in "${devices[@]}"; do
	steering "$dev"
	if ! command -v ethtool >/dev/null; then
		row "$dev GRO" - on unknown 'ethtool is not installed'
		continue
	fi
	wanted_feature "$dev" generic-receive-offload gro 'joins datagrams of one flow'
	wanted_feature "$dev" rx-udp-gro-forwarding rx-udp-gro-forwarding 'joins UDP also when packets are forwarded (containers, bridges)'
	wanted_feature "$dev" tx-udp-segmentation tx-udp-segmentation 'the card splits GSO packets, not the CPU'
done

# If an interrupt moves to another CPU, the caches of its flows are lost.
if [ "$cpus" -lt 4 ]; then
	row irqbalance - - ok 'fewer than four CPUs: nothing to distribute'
elif pgrep -x irqbalance >/dev/null 2>&1; then
	advise irqbalance running 'not running' 'if shards are pinned, pin one queue to each CPU (set_irq_affinity) and stop it'
else
	row irqbalance 'not running' 'not running' ok 'interrupts stay on their CPUs'
fi

governors=$(cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null | sort -u | paste -sd, -) || true
case "$governors" in
'') row 'CPU governor' - performance absent 'set by the hypervisor or firmware' ;;
performance) row 'CPU governor' performance performance ok 'no delay for raising the clock' ;;
*)
	if [ -n "$set_it" ] && for file in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do { echo performance >"$file"; } 2>/dev/null || exit 1; done; then
		row 'CPU governor' "$governors" performance SET 'no delay for raising the clock'
	else
		advise 'CPU governor' "$governors" performance 'a CPU that raises its clock only after a burst may drop the burst'
	fi
	;;
esac

if [ -n "$persist" ] && [ "${#persistent[@]}" -gt 0 ]; then
	{
		echo '# Written by tune-host.sh for srtrelay.'
		printf '%s\n' "${persistent[@]}"
	} >"$persist_file"
	echo "wrote $persist_file"
fi
if [ "$off" -gt 0 ]; then
	echo "$off settings are OFF"
	exit 1
fi
echo 'nothing is OFF'
