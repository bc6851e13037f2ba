# Functions for scripts that stream through a relay, to be sourced. They need $work, a
# folder for files, $bench, the program of bench, and fail, a function that ends the script
# with a message. The words of $within stand before each command, for another network.
export LC_ALL=C

within=()
# The address of the server behind the relay.
backend=127.0.0.1:19350
server='' callers=''

# serves starts the server. It runs until served, or until quit_streams.
serves() {
	mkfifo "$work/orders"
	"${within[@]}" "$bench" sink -listen "$backend" -count 1 <"$work/orders" >"$work/server.log" 2>&1 &
	server=$!
	exec {orders}>"$work/orders"
	echo start >&"$orders"
	for _ in $(seq 100); do
		if grep -q '"started"' "$work/server.log"; then return; fi
		sleep 0.1
	done
	fail 'the server does not start'
}

# streams begins 20 streams through the relay at an address, half of them to players, each
# with 300 datagrams per second, of which every one has a number.
streams() { # address, seconds
	"${within[@]}" "$bench" load -target "$1" -sessions 20 -players 0.5 -rate 6000 -duration "$2s" </dev/null >"$work/callers.log" 2>&1 &
	callers=$!
}

# awaits_streams waits until they have all begun.
awaits_streams() {
	for _ in $(seq 100); do
		if grep -q '20 sessions' "$work/callers.log"; then return; fi
		sleep 0.1
	done
	fail 'no streams'
}

# streamed waits for their end. No caller has lost a datagram or its connection.
streamed() { # what
	wait "$callers" || fail "$1: the callers failed"
	callers=''
	grep -q 'fate  *0 lost, 0 duplicated, 0 reordered' "$work/callers.log" || fail "$1: callers have lost datagrams"
	grep -q 'connects  *20 of 20 complete, 0 failed' "$work/callers.log" || fail "$1: not 20 callers"
}

# served ends the server, which has lost nothing in all that time.
served() {
	echo stop >&"$orders"
	echo quit >&"$orders"
	wait "$server" || fail 'the server failed'
	server=''
	grep '"stopped"' "$work/server.log" | grep -q '"lost":0,"duplicated":0,"reordered":0,' || fail 'the server has lost datagrams'
}

# quit_streams ends what still runs.
quit_streams() {
	for pid in $server $callers; do kill "$pid" 2>/dev/null || true; done
}
