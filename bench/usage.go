//go:build linux

package main

const usage = `The bench measures what a relayed packet costs: the CPU of the whole machine
above the direct path, loss, latency, memory, handshakes, for srtrelay and for
what could stand in its place.

Usage:
  bench [flags]                  run the suite (root; Linux)
  bench compare A.json B.json    medians of two reports side by side
  bench hostile [flags]          faults and attacks under 500 sessions: what do
                                 they lose? (make hostile)
  bench soak [flags]             an hour of everything at once: is anything lost,
                                 does anything grow? (make soak)
  bench load [flags]             the load generator alone, against any relay
  bench sink [flags]             the sinks alone
  bench goproxy [flags]          the plain Go proxy alone
  bench server [flags]           a server as hostile and soak start them
  bench COMMAND -help            the flags of one of them
  bench help                     this text

The suite makes two network namespaces joined by a veth pair. Callers send from
one; the relay and its backends are in the other:

  load 10.77.0.1 ---- veth ---- 10.77.0.2:20080 peer -> 127.0.0.1:10001... sinks

Each run starts sinks, peer and load afresh, waits until all sessions are
connected, warms up and measures a window. Peers take turns within a round, so
that what drifts on the machine meets them all. A busy machine spoils the
figures: the suite waits for a quiet one and says so when it stays busy.
Ctrl-C ends it and takes everything down; what was measured is still written.

An operator's own relay, without root:

  go run ./bench load -target relay.example:20080 -sessions 100 -rate 60000 -duration 10s

Peers:
  direct    the callers send straight to the backends: what a packet costs anyway
  srtrelay  -relay in user space, with one shard unless the scenario varies them
  kernel-path
            the same with --kernel-path=require: "srtrelay, kernel path". Takes no
            part, and the report says why, where the kernel refuses it
  kernel-path-accept
            the same with --kernel-path-local=accept and the kernel parameters
            that this asks for; in few scenarios
  nft       address translation by nftables, in the kernel
  nginx     nginx stream, one worker
  goproxy   a plain Go proxy: one goroutine, one socket per session, one datagram
            per call

Scenarios:
  publish     60,000 data/s, 100 publishers: added CPU per packet
  mixed       60,000 data/s, 1,000 sessions, half of the data towards players
  polling     120,000 data/s, with backends that poll instead of being woken
  libsrt      20,000 data/s to backends of the real libsrt
  trains      240,000 data/s, 40 publishers that send 16 datagrams at a time (GSO)
  hooks       the direct path beside a kernel path that carries no session
  ceiling     highest rate without loss on one core
  latency     one-way latency at half of that rate; also of srtrelay with
              --batch-wait=0s, called prompt
  batch-wait  cost and latency of the relay in user space with --batch-wait from 0
              to 2ms, before backends that sleep, that poll, and of real libsrt
  rates       cost and latency against the rate, for the plots
  shards      highest rate and cost with 1 to 128 shards; waiting on locks
  sessions    cost with 100 to 100,000 sessions
  memory      memory per idle session, 100,000 of them
  handshakes  handshakes per second, and callers beside a flood of forged ones

Flags:
  -only LIST          scenarios to run, comma-separated (default all)
  -peers LIST         peers that take part (default all)
  -rounds N           rounds (default 5; some scenarios take fewer)
  -quick              one round of short windows and fewer peers: 12 minutes, rough
                      figures
  -window TIME        length of a measured window (default 3s)
  -rate N             data datagrams per second, where a scenario does not vary or
                      search them (default 60000, libsrt 20000)
  -sessions N         sessions, where a scenario does not vary them
  -out DIR            where report.md, .json and .html go (default bench/out)
  -relay FILE         the relay's binary (default bin/srtrelay)
  -relay-flags LIST   more flags for it, by comma or blank
  -variant NAME=LIST  a further srtrelay with these flags, as a peer called NAME;
                      repeatable
  -relay-binary NAME=FILE
                      a further srtrelay from another binary; repeatable, and with
                      -variant of the same NAME
  -sinks N            backends (default 4)
  -backends ADDR      where relays and proxies reach them: 127.0.0.1 (default) or
                      10.77.0.2, the address that callers of the direct path use
  -load-cpus LIST     CPUs of load and sinks: 0, 0,2-3 or all (default 0)
  -peer-cpus LIST     CPUs of the peer (default 1)
  -no-wait            measure on a busy machine, too, and say so in the report
  -keep               keep the peers' configurations

Examples:
  go run ./bench -quick
  go run ./bench -only publish -peers direct,srtrelay -relay-binary old=/tmp/srtrelay
  go run ./bench -only publish -variant nogso=--gso=off -variant batch16=--batch=16
  go run ./bench compare before/report.json bench/out/report.json

Exit codes: 0 all ran, whatever the verdicts; 1 something failed; 2 wrong usage.
`
